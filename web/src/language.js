// The language of the page: every node remembers its wording, so that switching says it anew.

import { TEXTS } from "./texts.js";

const PLACES = { say: "textContent", name: "aria-label", aria: "aria-label", hint: "placeholder" };
const listeners = new Set();
let current = "en";

/** "en" or "zh". */
export function language() {
  return current;
}

/** The wording of a key in the current language, with {places} filled in. */
export function text(key, values = {}) {
  const wording = TEXTS[key];
  if (!wording) throw new Error(`no wording ${key}`);
  return wording[current].replace(/\{(\w+)\}/g, (_, place) => String(values[place] ?? ""));
}

/**
 * Gives a node a wording that follows the language.
 *
 * @param {"say" | "name" | "aria" | "hint"} place its text, its label and tooltip, its label alone, or
 *   its placeholder.
 * @param {string | [string, object]} wording key, or key and values.
 */
export function label(node, place, wording) {
  const [key, values] = Array.isArray(wording) ? wording : [wording, {}];
  node.setAttribute(`data-${place}`, JSON.stringify([key, values]));
  apply(node, place, key, values);
}

/** Switches every labelled node and tells whoever draws words by itself. */
export function setLanguage(next) {
  if (next !== "en" && next !== "zh") return;
  current = next;
  document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
  for (const place of Object.keys(PLACES)) {
    for (const node of document.querySelectorAll(`[data-${place}]`)) {
      apply(node, place, ...JSON.parse(node.getAttribute(`data-${place}`)));
    }
  }
  for (const listener of listeners) listener(next);
}

/** Calls back after each switch. */
export function onLanguage(listener) {
  listeners.add(listener);
}

function apply(node, place, key, values) {
  const words = text(key, values);
  if (place === "say") {
    node.textContent = words;
  } else {
    node.setAttribute(PLACES[place], words);
    if (place === "name") node.setAttribute("title", words);
  }
}
