// How it stands with the model: said above the question until it can answer.

import { el } from "./dom.js";
import { label } from "./language.js";

const LOOK_MS = 1500;

/** Fires "ready" {model} once the model is loaded. */
export class ModelState extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.words = el("span");
    this.why = el("small");
    this.element = el("div", { class: "rc-model", role: "status", hidden: true }, this.words, this.why);
  }

  /** Looks until the model is ready. */
  async watch() {
    let model = null;
    while (model?.state !== "ready") {
      try {
        model = await this.server.get("api/v1/model");
        this.#draw(model);
      } catch {
        // Whatever the person does next says that the server is away.
      }
      if (model?.state !== "ready") await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    this.dispatchEvent(new CustomEvent("ready", { detail: { model } }));
  }

  #draw({ state, message, hint }) {
    const isFailed = state === "failed";
    this.element.hidden = state !== "loading" && !isFailed;
    this.element.classList.toggle("rc-error", isFailed);
    label(this.words, "say", isFailed ? "model_failed" : "model_loading");
    this.why.textContent = isFailed ? [message, hint].filter(Boolean).join(". ") : "";
  }
}
