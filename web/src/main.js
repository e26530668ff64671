// The page: its parts are drawn at once; the way to Python follows when Gradio has loaded.

import { Bridge } from "./bridge.js";
import { Page } from "./page.js";

const bridge = new Bridge();

/** Called once by the page's Gradio component, with its `props`, `watch` and `trigger`. */
function connect(component) {
  bridge.connect(component);
}

function begin() {
  const root = document.createElement("div");
  root.id = "rc-root";
  // Beside Gradio's container, so that its styles for buttons and fields stay away from ours.
  document.body.append(root);
  window.ruichat.page = new Page(root, bridge);
  window.ruichat.page.start();
}

window.ruichat = { connect };
// Gradio's component may have come first.
if (window.ruichatComponent) connect(window.ruichatComponent);
if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", begin);
else begin();
