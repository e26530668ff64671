// A list that is searched by typing: cases, slides in folders.

import { el } from "./dom.js";
import { isComposing } from "./keys.js";
import { complain } from "./notices.js";

const PAUSE_MS = 150;

/**
 * A field and what it finds.
 *
 * Enter takes the first entry; the arrow keys go from entry to entry.
 *
 * @param {string} hint wording of the field's placeholder.
 * @param {(query: string) => Promise<{items: object[], total: number, note: ?Array}>} find the first
 *   of all that hold the query's words, and a wording that is said of any list.
 * @param {(item: object) => HTMLElement} entry draws one; its first control takes the focus.
 * @param {string} nothing wording where nothing is found.
 */
export function searchList({ hint, find, entry, nothing }) {
  const list = el("div", { class: "rc-choices" });
  const count = el("p", { class: "rc-quiet rc-count", role: "status" });
  let asked = 0;
  /** Whether it shows what is found. */
  const look = async () => {
    const number = ++asked;
    let found = null;
    try {
      found = await find(field.value.trim());
    } catch (error) {
      if (number === asked) complain(error);
    }
    if (!found || number !== asked) return false; // refused, or another was typed meanwhile
    const { items, total, note } = found;
    const cut = el("span", { say: ["list_cut", { shown: items.length, total }] });
    list.replaceChildren(...items.map(entry));
    count.replaceChildren(
      ...(total > items.length ? [cut] : []),
      ...(total ? [] : [el("span", { say: nothing })]),
      ...(note ? [el("strong", { class: "rc-list-note", say: note })] : []),
    );
    return true;
  };
  let pause = null;
  const field = el("input", {
    type: "search",
    autofocus: true,
    hint,
    on: {
      input: () => {
        clearTimeout(pause);
        pause = setTimeout(look, PAUSE_MS);
      },
      keydown: (event) => {
        if (event.key !== "Enter" || isComposing(event)) return;
        event.preventDefault();
        clearTimeout(pause);
        look().then((isShown) => isShown && controls(list)[0]?.click());
      },
    },
  });
  const whole = el("div", { class: "rc-search", on: { keydown: walk } }, field, list, count);
  field.setAttribute("aria-label", field.placeholder);
  look();
  return whole;

  function walk(event) {
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const stops = [field, ...controls(list)];
    stops[stops.indexOf(document.activeElement) + by]?.focus();
  }
}

/** Words of a query in any order, whatever their case. */
export function holds(text, query) {
  const folded = text.toLowerCase();
  return query.toLowerCase().split(/\s+/).every((word) => folded.includes(word));
}

function controls(list) {
  return [...list.querySelectorAll("button, input")];
}
