// The conversation: what was asked, what the model wrote, what it rests on.

import { citationParts, claimParts } from "./answer_text.js";
import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { language, onLanguage, text } from "./language.js";
import { errorWords, notify } from "./notices.js";
import { slideWords } from "./strip.js";

const REASONS = ["wrong", "place", "missing", "unclear"];
const NEAR_END_PX = 80;

/** Id of the answer that is being written. */
const RUNNING = "running";

/**
 * Draws a chat's messages; fires "fly" {message, name}, "retry" {message}, "rate" {message, value,
 * reason} and "keep" {message}.
 */
export class Messages extends EventTarget {
  constructor() {
    super();
    this.element = el("div", { class: "rc-messages", role: "log", aria: "chat", tabindex: "0" });
    this.drawn = new Map();
    this.messages = [];
    this.slides = [];
    this.isOwn = true;
    onLanguage(() => {
      this.drawn.clear();
      this.show(this.messages, this.progress);
    });
  }

  /** Says which slides the case has by now, and by which letters. */
  setSlides(slides) {
    this.slides = slides;
    this.show(this.messages, this.progress);
  }

  /**
   * Shows messages; those that haven't changed stay as they are.
   *
   * @param progress what the running answer waits for, or null.
   */
  show(messages, progress = null) {
    const wasUnfolded = this.#isUnfolded();
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null;
    this.messages = messages;
    this.progress = progress;
    const { scrollHeight, scrollTop, clientHeight } = this.element;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    const nodes = messages.map((message, index) => this.#node(message, index === messages.length - 1));
    const kept = new Set(messages.map(({ id }) => id));
    if (wasUnfolded && !kept.has(RUNNING)) unfold(nodes.at(-1));
    for (const id of this.drawn.keys()) if (!kept.has(id)) this.drawn.delete(id);
    nodes.forEach((node, index) => {
      if (this.element.children[index] !== node) {
        this.element.insertBefore(node, this.element.children[index] ?? null);
      }
    });
    while (this.element.children.length > nodes.length) this.element.lastElementChild.remove();
    this.element.setAttribute("aria-busy", String(messages.at(-1)?.state === "running"));
    if (isAtEnd) this.toEnd();
    if (focused && !this.element.contains(focused)) this.#refocus(focused);
  }

  /** Gives the focus of a control that was replaced to the one in its place: else keys act on the slide. */
  #refocus(focused) {
    const id = focused.closest("[data-message]")?.dataset.message;
    const controls = this.drawn.get(id)?.node.querySelectorAll(focused.tagName) ?? [];
    const same = [...controls].find((control) => nameOf(control) === nameOf(focused));
    (same ?? this.element).focus();
  }

  /** Shows the newest message. */
  toEnd() {
    this.element.scrollTop = this.element.scrollHeight;
  }

  #node(message, isLast) {
    const letters = formerLetters(message.answer, this.slides);
    const progress = message.state === "running" && this.progress;
    const state = JSON.stringify([message, isLast, this.isOwn, letters, progress]);
    const drawn = this.drawn.get(message.id);
    if (drawn?.state === state) return drawn.node;
    const node = message.role === "user" ? this.#question(message, isLast) : this.#answer(message, isLast, letters);
    const isSame = drawn && message.id === RUNNING && refill(drawn.node, node);
    if (drawn && !isSame) drawn.node.replaceWith(node);
    this.drawn.set(message.id, { state, node: isSame ? drawn.node : node });
    return isSame ? drawn.node : node;
  }

  /** Whether somebody reads the thought of the answer that is being written. */
  #isUnfolded() {
    const running = this.messages.find(({ id }) => id === RUNNING);
    return Boolean(running?.text) && Boolean(thoughtOf(this.drawn.get(RUNNING)?.node)?.open);
  }

  /** A question; one's own with which a chat ends got no answer, or none that could be kept. */
  #question(message, isLast) {
    const isUnanswered = isLast && this.isOwn;
    return el(
      "article",
      { class: "rc-question", "data-message": message.id },
      el("span", { class: "rc-hidden", say: "you" }),
      message.region ? el("span", { class: "rc-tag" }, message.region.name) : null,
      message.region_deleted ? el("span", { class: "rc-tag", say: "region_deleted" }) : null,
      el("p", {}, message.text),
      isUnanswered ? [failure(message.error), el("div", { class: "rc-actions" }, this.#retry(message))] : null,
    );
  }

  #answer(message, isLast, letters) {
    const answer = message.answer;
    const isRunning = message.state === "running";
    const node = el(
      "article",
      { class: `rc-answer ${answer?.abstained ? "rc-abstained" : ""}`, "data-message": message.id },
      message.thought ? thought(message) : null,
      answer?.abstained ? el("strong", { class: "rc-badge", say: "abstained" }) : null,
      el("p", { class: "rc-words" }, this.#words(message)),
      isRunning ? running(message, this.progress) : null,
    );
    if (message.state === "stopped") node.append(el("p", { class: "rc-note", say: "stopped" }));
    if (answer?.was_cut) node.append(el("p", { class: "rc-note rc-cut", say: "cut" }));
    if (message.error || message.state === "failed") node.append(failure(message.error));
    if (answer) node.append(...grounds(answer));
    if (letters) node.append(el("p", { class: "rc-note rc-letters", say: ["letters_then", { letters }] }));
    if (message.text || message.thought) {
      node.append(el("p", { class: "rc-ai", say: "ai_label" }));
    }
    if (!isRunning) node.append(this.#actions(message, isLast));
    return node;
  }

  #words(message) {
    const claims = message.answer?.claims ?? [];
    return claimParts(message.text, claims).flatMap(({ words, claim }) => {
      const nodes = citationParts(words).map((part) =>
        part.name ? this.#chip(message, part.name) : part.words,
      );
      if (!claim || claim.grounded) return nodes;
      return el(
        "span",
        { class: "rc-ungrounded" },
        nodes,
        el("span", { class: "rc-badge", say: "ungrounded" }),
      );
    });
  }

  #chip(message, name) {
    const citation = message.answer?.citations.find((item) => item.name === name);
    const color = citation?.color;
    return el(
      "button",
      {
        type: "button",
        class: "rc-chip",
        name: ["fly", { name }],
        disabled: !citation,
        style: color ? `--mark: rgb(${color.map(Number).join(",")})` : null,
        on: { click: () => this.#tell("fly", { message, name }) },
      },
      name,
    );
  }

  #actions(message, isLast) {
    const row = el(
      "div",
      { class: "rc-actions" },
      iconButton(ICONS.copy, "copy", () => copy(message)),
      isLast && this.isOwn ? this.#retry(message) : null,
      message.answer?.citations.length
        ? iconButton(ICONS.keep, "keep", () => this.#tell("keep", { message }), {
            class: "rc-button rc-icon-button rc-changes",
          })
        : null,
      this.isOwn ? this.#rating(message) : null,
    );
    return this.isOwn && message.feedback === -1 ? el("div", {}, row, this.#reason(message)) : row;
  }

  #retry(message) {
    return iconButton(ICONS.retry, "retry", () => this.#tell("retry", { message }));
  }

  #rating(message) {
    const rate = (value) => () => this.#tell("rate", { message, value, reason: "" });
    return [
      iconButton(ICONS.like, "like", rate(message.feedback === 1 ? 0 : 1), {
        "aria-pressed": String(message.feedback === 1),
      }),
      iconButton(ICONS.dislike, "dislike", rate(message.feedback === -1 ? 0 : -1), {
        "aria-pressed": String(message.feedback === -1),
      }),
    ];
  }

  #reason(message) {
    const send = (reason) => this.#tell("rate", { message, value: -1, reason });
    const own = el("input", {
      type: "text",
      hint: "why",
      maxlength: "500",
      value: message.feedback_reason ?? "",
      on: { change: () => send(own.value) },
    });
    return el(
      "div",
      { class: "rc-reason" },
      REASONS.map((reason) =>
        button(`reason_${reason}`, () => send(text(`reason_${reason}`)), {
          class: "rc-button rc-small",
          "aria-pressed": String(message.feedback_reason === text(`reason_${reason}`)),
        }),
      ),
      own,
    );
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function nameOf(control) {
  return control.getAttribute("aria-label") ?? control.textContent;
}

/** Which slides the letters of an answer mean, where the case's slides have others by now; else none. */
function formerLetters(answer, slides) {
  const letters = answer?.letters ?? [];
  const slideOf = (id) => slides.find((slide) => slide.id === id);
  if (!slides.length || letters.every(({ letter, slide_id: id }) => slideOf(id)?.letter === letter)) return "";
  const named = (slide) =>
    slide ? text("letters_now", { name: slideWords(slide), letter: slide.letter }) : text("letters_removed");
  return letters.map(({ letter, slide_id: id }) => `${letter} = ${named(slideOf(id))}`).join("; ");
}

function thought(message) {
  return el(
    "details",
    { class: "rc-thought", open: message.state === "running" && !message.text },
    el("summary", { say: "thought" }),
    el("p", {}, message.thought),
  );
}

function thoughtOf(node) {
  return node?.querySelector(".rc-thought") ?? null;
}

/**
 * Gives an answer that is being written what a newer node of it holds. The thought itself stays: it
 * can be folded between two words, and is once by itself, when the answer begins.
 */
function refill(node, newer) {
  const [before, after] = [thoughtOf(node), thoughtOf(newer)];
  if (!before || !after) return false;
  if (!after.open && !node.querySelector(".rc-words").textContent) before.open = false;
  before.lastElementChild.replaceWith(after.lastElementChild);
  while (before.nextSibling) before.nextSibling.remove();
  after.remove();
  node.append(...newer.childNodes);
  return true;
}

function unfold(node) {
  const thought = thoughtOf(node);
  if (thought) thought.open = true;
}

function running(message, progress) {
  const bar = el("progress");
  let words = ["answering", {}];
  if (progress?.position) words = ["waiting", { position: progress.position }];
  else if (progress?.stage) words = [`stage_${progress.stage}`, {}];
  if (progress?.total) {
    bar.max = progress.total;
    bar.value = progress.done;
  }
  const isWriting = Boolean(message.text || message.thought);
  return el(
    "p",
    { class: "rc-running" },
    isWriting ? el("span", { class: "rc-caret" }) : [el("span", { say: words }), bar],
  );
}

/** Why there is no answer, as far as that is known. */
function failure(error) {
  if (!error) return el("p", { class: "rc-note rc-error", say: "failed" });
  const { message, hint } = errorWords(error);
  return el("p", { class: "rc-note rc-error" }, message, hint ? el("small", {}, hint) : null);
}

/** What stands behind an answer: how sure it is, what was left open, what was corrected. */
function grounds(answer) {
  const facts = [];
  if (answer.diagnosis_class) facts.push(el("span", { say: `class_${answer.diagnosis_class}` }));
  if (answer.confidence !== null && !answer.abstained) {
    const percent = Math.round(answer.confidence * 100);
    facts.push(el("span", { say: ["confidence", { percent }] }));
  }
  const notes = [
    ...answer.errors.map((what) => ["corrected", { what }]),
    ...answer.warnings.map((what) => ["warned", { what }]),
  ];
  return [
    facts.length ? el("p", { class: "rc-grounds" }, facts) : null,
    answer.leading ? el("p", { class: "rc-grounds" }, answer.leading[language()]) : null,
    ...notes.map((say) => el("p", { class: "rc-note", say })),
  ].filter(Boolean);
}

async function copy(message) {
  const cut = message.answer?.was_cut ? [text("cut")] : [];
  const words = [message.text, ...cut, text("ai_label")].join("\n\n");
  try {
    await navigator.clipboard.writeText(words);
  } catch {
    // Over plain http there is no clipboard, and it may be forbidden.
    if (!copySelected(words)) {
      notify(text("copy_failed"), { isError: true });
      return;
    }
  }
  notify(text("copied"));
}

/** Copies words as people do, by selecting them; false where that isn't allowed either. */
function copySelected(words) {
  const focused = document.activeElement;
  const field = el("textarea", { class: "rc-hidden" });
  field.value = words;
  document.querySelector("#rc-root").append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return isCopied;
}
