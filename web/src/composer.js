// Where questions are written: about what, with which region, whether the model thinks first.

import { el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { isComposing } from "./keys.js";
import { label, onLanguage, text } from "./language.js";
import { formatArea, ringArea } from "./measure.js";
import { notify } from "./notices.js";

const GENERAL = ["ask_tumour", "ask_dominant", "ask_necrosis", "ask_describe"];
const OF_REGION = ["ask_region", "ask_region_tumour"];
const OF_ORGAN = {
  lung: ["ask_tumour", "ask_lung", "ask_normal_lung", "ask_necrosis"],
  breast: ["ask_tumour", "ask_glands", "ask_invasion", "ask_area"],
  colorectum: ["ask_tumour", "ask_polyp", "ask_glands", "ask_necrosis"],
  "lymph node": ["ask_metastasis", "ask_dominant", "ask_area"],
  "oral cavity": ["ask_tumour", "ask_mucosa", "ask_invasion", "ask_dominant"],
};

/** Longest question that the server takes, as it counts: one for each character. */
const MAX_QUESTION_CHARS = 1000;

/** Where the tab keeps what somebody is writing; their id follows. */
const DRAFT = "ruichat-draft-";

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
      hint: "ask_hint",
      "aria-label": text("ask_label"),
      on: {
        input: () => this.#write(this.input.value),
        keydown: (event) => {
          if (isComposing(event)) return;
          if (event.key === "Enter" && !event.shiftKey) {
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
    this.gap = el("span", { class: "rc-gap" });
    this.target = el("div", { class: "rc-target" }, this.gap, this.think);
    this.suggestions = el("div", { class: "rc-suggestions" });
    this.element = el(
      "div",
      { class: "rc-composer" },
      this.suggestions,
      this.target,
      el("div", { class: "rc-write" }, this.input, this.sendButton, this.stopButton),
    );
    onLanguage(() => this.#refresh());
    this.setRunning(false);
  }

  /** Says who writes: what they were writing in this tab is there again, and nobody else's. */
  setUser(userId) {
    this.draftKey = DRAFT + userId;
    this.#write(this.input.value || (sessionStorage.getItem(this.draftKey) ?? ""));
  }

  /** Forgets what anybody was writing in this tab. */
  forgetDrafts() {
    for (const key of Object.keys(sessionStorage)) {
      if (key.startsWith(DRAFT)) sessionStorage.removeItem(key);
    }
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
    const isPressed = document.activeElement === (running ? this.sendButton : this.stopButton);
    this.running = running;
    this.sendButton.hidden = running;
    this.stopButton.hidden = !running;
    this.#refresh();
    if (isPressed) this.focus(); // the button is gone, and keys would act on the slide
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
    const question = words.trim();
    if (this.running || !this.current || !question) return;
    const count = [...question].length;
    if (count > MAX_QUESTION_CHARS) {
      notify(text("ask_too_long", { count, most: MAX_QUESTION_CHARS }), { isError: true });
      return;
    }
    this.#tell("ask", {
      text: question,
      think: this.thinkBox.checked,
      region: this.region,
      all: this.all,
    });
    // A question that was offered leaves what is being written alone.
    if (words === this.input.value) this.#write("");
    this.focus();
  }

  /** Puts words into the field; a reload of the page finds them there. */
  #write(words) {
    if (this.input.value !== words) this.input.value = words;
    if (this.draftKey) sessionStorage.setItem(this.draftKey, words);
    this.input.style.height = "auto";
    this.input.style.height = `${Math.min(this.input.scrollHeight, 160)}px`;
  }

  #refresh() {
    this.input.setAttribute("aria-label", text("ask_label"));
    this.target.hidden = !this.current;
    this.#drawTarget();
    const keys = this.region ? OF_REGION : (OF_ORGAN[this.organ] ?? GENERAL);
    const isWanted = (this.isFresh || this.region) && !this.running && this.current;
    const wanted = isWanted ? keys : [];
    if (String(wanted) === this.offered) return; // a button that is being pressed stays
    this.offered = String(wanted);
    this.suggestions.replaceChildren(
      ...wanted.map((key) =>
        el("button", {
          type: "button",
          class: "rc-suggestion",
          say: key,
          on: { click: () => this.#send(text(key)) },
        }),
      ),
    );
  }

  /** What is asked about, before "Think first", which stays in the document to be switched with it. */
  #drawTarget() {
    const { region, all, current, slides } = this;
    const state = JSON.stringify([region?.id, all, current?.letter, slides.length]);
    if (state === this.drawnTarget) return;
    this.drawnTarget = state;
    const isPressed = this.target.contains(document.activeElement);
    while (this.target.firstElementChild !== this.gap) this.target.firstElementChild.remove();
    this.gap.before(...this.#about());
    if (isPressed && !this.target.contains(document.activeElement)) {
      (this.target.querySelector("button") ?? this.input).focus();
    }
  }

  #about() {
    const parts = [];
    if (this.region) {
      const area = formatArea(ringArea(this.region.points) * this.region.mpp ** 2);
      const drop = iconButton(ICONS.close, "region_drop", () => this.setRegion(null));
      parts.push(el("span", { class: "rc-tag" }, `${this.region.name} · ${area}`, drop));
    } else if (this.current && this.slides.length > 1) {
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
    return parts;
  }

  #tell(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
