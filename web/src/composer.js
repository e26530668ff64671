// Where questions are written: about what, with which region, whether the model thinks first.

import { el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { label, onLanguage, text } from "./language.js";
import { formatArea, ringArea } from "./measure.js";

const GENERAL = ["ask_tumour", "ask_dominant", "ask_necrosis", "ask_describe"];
const OF_REGION = ["ask_region", "ask_region_tumour"];
const OF_ORGAN = {
  lung: ["ask_tumour", "ask_lung", "ask_normal_lung", "ask_necrosis"],
  breast: ["ask_tumour", "ask_glands", "ask_invasion", "ask_area"],
  colorectum: ["ask_tumour", "ask_polyp", "ask_glands", "ask_necrosis"],
  "lymph node": ["ask_metastasis", "ask_dominant", "ask_area"],
  "oral cavity": ["ask_tumour", "ask_mucosa", "ask_invasion", "ask_dominant"],
};

/** Where the tab keeps what is being written. */
const DRAFT = "ruichat-draft";

/** Fires "ask" {text, think, region, all} and "stop". */
export class Composer extends EventTarget {
  constructor() {
    super();
    this.region = null;
    this.all = false;
    this.slides = [];
    this.organ = null;
    this.running = false;
    this.input = el("textarea", {
      rows: "1",
      maxlength: "2000",
      hint: "ask_hint",
      "aria-label": text("ask_label"),
      on: {
        input: () => this.#write(this.input.value),
        keydown: (event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
            event.preventDefault();
            this.#send();
          } else if (event.key === "Escape") {
            event.preventDefault();
            if (this.running) this.#tell("stop");
            else this.input.blur();
          }
        },
      },
    });
    this.sendButton = iconButton(ICONS.send, "send", () => this.#send(), {
      class: "rc-button rc-icon-button rc-primary",
    });
    this.stopButton = iconButton(ICONS.stop, "stop", () => this.#tell("stop"), {
      class: "rc-button rc-icon-button rc-primary rc-stop",
    });
    this.thinkBox = el("input", { type: "checkbox" });
    this.think = el("label", { class: "rc-think", name: "think_more" }, this.thinkBox);
    this.think.append(el("span", { say: "think" }));
    this.think.hidden = true;
    this.target = el("div", { class: "rc-target" });
    this.suggestions = el("div", { class: "rc-suggestions" });
    this.element = el(
      "div",
      { class: "rc-composer" },
      this.suggestions,
      this.target,
      el("div", { class: "rc-write" }, this.input, this.sendButton, this.stopButton),
    );
    onLanguage(() => this.#refresh());
    this.#write(sessionStorage.getItem(DRAFT) ?? "");
    this.setRunning(false);
  }

  /** The slides of the case, the one asked about, the case's organ, and ids of those in view. */
  setSlides(slides, current, organ, shown) {
    this.slides = slides;
    this.current = current;
    this.organ = organ;
    if (this.region && !shown.includes(this.region.slide.id)) this.region = null;
    if (slides.length < 2) this.all = false;
    this.#refresh();
  }

  /** Asks about a drawn region next; null for the slide. */
  setRegion(region) {
    this.region = region;
    if (region) this.all = false;
    this.#refresh();
  }

  /** Whether an answer is being written: then there's something to stop. */
  setRunning(running) {
    this.running = running;
    this.sendButton.hidden = running;
    this.stopButton.hidden = !running;
    this.#refresh();
  }

  /** Shows questions to begin with, or hides them. */
  setFresh(isFresh) {
    this.isFresh = isFresh;
    this.#refresh();
  }

  focus() {
    this.input.focus();
  }

  /** Puts back what couldn't be sent, unless something else is written by now. */
  giveBack(words) {
    if (!this.input.value.trim()) this.#write(words);
  }

  #send(words = this.input.value) {
    if (this.running || !this.current || !words.trim()) return;
    this.#tell("ask", {
      text: words.trim(),
      think: this.thinkBox.checked,
      region: this.region,
      all: this.all,
    });
    this.#write("");
  }

  /** Puts words into the field; a reload of the page finds them there. */
  #write(words) {
    if (this.input.value !== words) this.input.value = words;
    sessionStorage.setItem(DRAFT, words);
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, 160)}px`;
  }

  #refresh() {
    this.input.setAttribute("aria-label", text("ask_label"));
    this.target.replaceChildren(...this.#target());
    const keys = this.region ? OF_REGION : (OF_ORGAN[this.organ] ?? GENERAL);
    const isWanted = (this.isFresh || this.region) && !this.running && this.current;
    this.suggestions.replaceChildren(
      ...(isWanted ? keys : []).map((key) =>
        el("button", {
          type: "button",
          class: "rc-suggestion",
          say: key,
          on: { click: () => this.#send(text(key)) },
        }),
      ),
    );
  }

  #target() {
    if (!this.current) return [];
    const parts = [];
    if (this.region) {
      const area = formatArea(ringArea(this.region.points) * this.region.mpp ** 2);
      const drop = iconButton(ICONS.close, "region_drop", () => this.setRegion(null));
      parts.push(el("span", { class: "rc-tag" }, `${this.region.name} · ${area}`, drop));
    } else if (this.slides.length > 1) {
      const choose = el("button", { type: "button", class: "rc-tag" });
      const wording = this.all
        ? ["about_all", { count: this.slides.length }]
        : ["about_slide", { letter: this.current.letter }];
      label(choose, "say", wording);
      choose.addEventListener("click", () => {
        this.all = !this.all;
        this.#refresh();
      });
      parts.push(el("span", { class: "rc-about", say: "ask_about" }), choose);
    }
    parts.push(el("span", { class: "rc-gap" }), this.think);
    return parts;
  }

  #tell(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
