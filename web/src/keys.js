// The keyboard, as in QuPath where QuPath has the same: one table for what keys do and for "?".

import { el } from "./dom.js";

const GROUPS = ["moving", "tools", "showing", "deciding"];

/** Parts that are scrolled by keys while they have the focus. */
const SCROLLED = ".rc-messages, .rc-findings, .rc-popover";

/**
 * Listens to the keyboard wherever nobody is writing.
 *
 * @param {Array<{keys: string[], shown: string, say: string, group: string,
 *   run: (key: string, event: KeyboardEvent) => unknown}>} table
 *   A key is the event's `key` in lower case, with "shift+" before letters and brackets that need
 *   it; `run` returns false for a key that it has no use for at the moment.
 * @param {(held: boolean) => void} hold is told that Space is held, or let go.
 */
export function listenToKeys(table, hold) {
  const actions = new Map(table.flatMap((entry) => entry.keys.map((key) => [key, entry.run])));
  document.addEventListener("keydown", (event) => {
    if (isWriting(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === " " && !onControl(event)) {
      event.preventDefault();
      hold(true);
      return;
    }
    if (belongsToControl(event)) return;
    const key = named(event);
    const run = actions.get(key);
    if (run && run(key, event) !== false) event.preventDefault();
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") hold(false);
  });
  addEventListener("blur", () => hold(false)); // a key let go elsewhere tells us nothing
}

/**
 * Whether a key belongs to the composition of a character; Safari ends the composition before it
 * tells of the key that did it, and then only the old code says so.
 */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

/** The table as a dialog's content. */
export function keyTable(table) {
  return GROUPS.map((group) =>
    el(
      "section",
      { class: "rc-keys" },
      el("h3", { say: `keys_${group}` }),
      el(
        "dl",
        {},
        table
          .filter((entry) => entry.group === group)
          .map((entry) => [
            el("dt", {}, entry.shown.split(" ").map((key) => el("kbd", {}, key))),
            el("dd", { say: entry.say }),
          ]),
      ),
    ),
  );
}

function named(event) {
  const key = event.key.toLowerCase();
  const shifted = event.shiftKey && /^([a-z]|arrow.*|page.*)$/.test(key);
  return shifted ? `shift+${key}` : key;
}

function isWriting(event) {
  const target = event.target;
  return (
    target.isContentEditable ||
    target.closest?.("dialog, [role=dialog]") ||
    (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) && !/^(checkbox|range)$/.test(target.type))
  );
}

/** Whether a control that has the focus makes use of a key itself. */
function belongsToControl(event) {
  if (/^(Arrow|Page|Home|End)/.test(event.key)) {
    return event.target.type === "range" || (!event.shiftKey && isScrolled(event.target));
  }
  return (event.key === "Enter" || event.key === "Tab") && onControl(event);
}

/** Whether keys scroll a part; not a control in it: after a citation's click they move the slide. */
function isScrolled(part) {
  return Boolean(part.matches?.(SCROLLED)) && part.scrollHeight > part.clientHeight;
}

function onControl(event) {
  return Boolean(event.target.closest?.("button, a, summary, input, [role=button]"));
}
