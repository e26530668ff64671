// Short notices at the window's foot, and dialogs.

import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { language, text } from "./language.js";

const SHOWN_MS = 6000;

/** Statuses of refusals that have words in every language; that a login has ended is said in them. */
export const SAID = new Set([403, 404, 409, 413, 422, 429, 500, 503, 507]);

let place = null;

/** Where notices appear; made once. */
export function noticePlace() {
  place ??= el("div", { class: "rc-notices", role: "status", "aria-live": "polite" });
  return place;
}

/** Shows a notice for some seconds; an error stays until it is closed. */
export function notify(message, { isError = false, hint = "" } = {}) {
  const notice = el(
    "div",
    { class: `rc-notice ${isError ? "rc-error" : ""}` },
    el("span", {}, message, hint ? el("small", {}, hint) : null),
  );
  notice.append(iconButton(ICONS.close, "close", () => notice.remove()));
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

/** Shows what went wrong. */
export function complain(error) {
  const { message, hint } = errorWords(error);
  notify(message || text("offline"), { isError: true, hint });
}

/**
 * A dialog with a title, fields and buttons.
 *
 * @param {string | [string, object]} title wording.
 * @param {Node[]} content
 * @param {{save?: () => Promise<unknown>, saySave?: string, remove?: () => Promise<unknown>}} actions
 *   save closes the dialog unless it fails; without it there is only a way out.
 */
export function openDialog(title, content, { save = null, saySave = "save", remove = null } = {}) {
  const dialog = el("dialog", { class: "rc-dialog" });
  const run = async (action) => {
    try {
      await action();
      dialog.close();
    } catch (error) {
      complain(error);
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
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  document.querySelector("#rc-root").append(dialog);
  dialog.showModal();
  return dialog;
}

/** A field with its wording. */
export function field(say, control) {
  return el("label", { class: "rc-field" }, el("span", { say }), control);
}
