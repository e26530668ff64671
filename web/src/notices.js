// Short notices at the window's foot, and dialogs.

import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { language, text } from "./language.js";

const SHOWN_MS = 6000;

/** Statuses of refusals that have words in every language; that a login has ended is said in them. */
export const SAID = new Set([403, 404, 409, 413, 422, 429, 500, 503, 507]);

let place = null;

/** Dialogs in which something was written or chosen that isn't saved. */
const changed = new WeakSet();

/** Where notices appear; made once. An open dialog has it, as all else can't be reached meanwhile. */
export function noticePlace() {
  place ??= el("div", { class: "rc-notices", role: "status", "aria-live": "polite" });
  return place;
}

/** Shows a notice for some seconds; an error stays until it is closed, and is shown once. */
export function notify(message, { isError = false, hint = "" } = {}) {
  const said = `${message}\n${hint}`;
  const notice = el(
    "div",
    { class: `rc-notice ${isError ? "rc-error" : ""}`, "data-said": said },
    el("span", {}, message, hint ? el("small", {}, hint) : null),
  );
  notice.append(iconButton(ICONS.close, "close", () => notice.remove()));
  if (isError) [...noticePlace().children].find(({ dataset }) => dataset.said === said)?.remove();
  noticePlace().append(notice);
  if (!isError) setTimeout(() => notice.remove(), SHOWN_MS);
}

/**
 * What went wrong, in the page's language: the server's words are English, so in another language
 * they come second.
 */
export function errorWords({ message, hint, status }) {
  if (language() === "en" || !SAID.has(status)) return { message, hint: hint ?? "" };
  const said = text(`error_${status}`);
  const more = [message, hint].filter((words) => words && words !== said);
  return { message: said, hint: more.join(". ") };
}

/** Shows what went wrong, and with what. */
export function complain(error, name = "") {
  const { message, hint } = errorWords(error);
  const words = message || text("offline");
  notify(name ? `${name}: ${words}` : words, { isError: true, hint });
}

/**
 * A dialog with a title, fields and buttons.
 *
 * @param {string | [string, object]} title wording.
 * @param {Node[]} content
 * @param {{save?: () => Promise<unknown>, saySave?: string, remove?: () => Promise<unknown>}} actions
 *   both close the dialog unless they fail or give false; without save there is only a way out.
 */
export function openDialog(title, content, { save = null, saySave = "save", remove = null } = {}) {
  const dialog = el("dialog", { class: "rc-dialog" });
  let isBusy = false;
  const run = async (action) => {
    if (isBusy) return;
    isBusy = true;
    dialog.setAttribute("aria-busy", "true");
    try {
      if ((await action()) !== false) dialog.close();
    } catch (error) {
      complain(error);
    } finally {
      isBusy = false;
      dialog.removeAttribute("aria-busy");
    }
  };
  const form = el(
    "form",
    {
      method: "dialog",
      on: {
        submit: (event) => {
          event.preventDefault();
          if (save) run(save);
        },
      },
    },
    el(
      "header",
      {},
      el("h2", { say: title }),
      iconButton(ICONS.close, "close", () => dialog.close()),
    ),
    el("div", { class: "rc-dialog-body" }, content),
    save
      ? el(
          "footer",
          {},
          remove ? button("delete", () => run(remove), { class: "rc-button rc-danger" }) : null,
          el("span", { class: "rc-gap" }),
          button("cancel", () => dialog.close()),
          el("button", { type: "submit", class: "rc-button rc-primary", say: saySave }),
        )
      : null,
  );
  dialog.append(form);
  dialog.addEventListener("close", () => {
    dialog.remove();
    placeNotices();
  });
  dialog.addEventListener("input", ({ target }) => {
    if (save && target.type !== "search") changed.add(dialog);
  });
  const stay = (event) => {
    if (changed.has(dialog)) event.preventDefault();
  };
  // Of the key itself, as browsers let a second Esc close a dialog whatever is said of "cancel".
  dialog.addEventListener("keydown", (event) => event.key === "Escape" && stay(event));
  dialog.addEventListener("cancel", stay);
  // A text that is selected to its end and beyond gives a click on the dialog too.
  let pressed = null;
  dialog.addEventListener("pointerdown", ({ target }) => (pressed = target));
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog && pressed === dialog && !changed.has(dialog)) dialog.close();
  });
  document.querySelector("#rc-root").append(dialog);
  dialog.showModal();
  placeNotices();
  return dialog;
}

/** Whether a dialog is open, so that another would cover it. */
export function isDialogOpen() {
  return openDialogs().length > 0;
}

/** Whether an open dialog holds something that isn't saved. */
export function isDialogChanged() {
  return openDialogs().some((dialog) => changed.has(dialog));
}

function placeNotices() {
  (openDialogs().at(-1) ?? document.querySelector("#rc-root")).append(noticePlace());
}

function openDialogs() {
  return [...document.querySelectorAll("dialog[open]")];
}

/** A field with its wording. */
export function field(say, control) {
  return el("label", { class: "rc-field" }, el("span", { say }), control);
}
