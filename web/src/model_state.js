// How it stands with the model: said above the question until it can answer.

import { el } from "./dom.js";
import { label } from "./language.js";

const LOOK_MS = 1500;

/** Fires "ready" {model} once the model is loaded. */
export class ModelState extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.model = null;
    this.hasContext = false;
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

  /** Whether the case has clinical context, which not every model is told. */
  setContext(hasContext) {
    this.hasContext = hasContext;
    this.#draw(this.model);
  }

  #draw(model) {
    this.model = model;
    const wording = wordingOf(model, this.hasContext);
    this.element.hidden = !wording;
    if (!wording) return;
    const isFailed = model.state === "failed";
    this.element.classList.toggle("rc-error", isFailed);
    label(this.words, "say", wording);
    this.why.textContent = [model.message, model.hint].filter(Boolean).join(". ");
  }
}

function wordingOf(model, hasContext) {
  if (model?.state === "loading") return "model_loading";
  if (model?.state === "failed") return "model_failed";
  return hasContext && model?.reads_context === false ? "context_unread" : null;
}
