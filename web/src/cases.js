// Cases: choose one, make one, say what is known clinically.

import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { onLanguage, text } from "./language.js";
import { field, openDialog } from "./notices.js";

const CHANGES = { class: "rc-button rc-icon-button rc-changes" };
const ORGANS = [
  "lung",
  "breast",
  "colorectum",
  "lymph node",
  "oral cavity",
  "stomach",
  "prostate",
  "thyroid",
  "pancreas",
  "liver",
  "kidney",
  "skin",
  "other",
];

/** The case's name in the top bar, and the list behind it; fires "open" {case}. */
export class Cases extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.cases = [];
    this.current = null;
    this.select = el("select", {
      "aria-label": text("cases"),
      on: { change: () => this.#choose(this.select.value) },
    });
    this.editButton = iconButton(ICONS.edit, "case_edit", () => this.edit(), CHANGES);
    this.element = el(
      "div",
      { class: "rc-cases" },
      this.select,
      this.editButton,
      iconButton(ICONS.add, "new_case", () => this.create(), CHANGES),
    );
    this.missing = el(
      "p",
      { class: "rc-missing", hidden: true },
      el("span", { say: "context_missing" }),
      button("context_add", () => this.edit(), { class: "rc-button rc-small rc-changes" }),
    );
    onLanguage(() => this.#draw());
  }

  /** Lists the cases and opens the wanted one, else the last used. */
  async load(wantedId = null) {
    this.cases = await this.server.list("api/v1/cases");
    this.current = this.cases.find(({ id }) => id === wantedId) ?? this.cases[0] ?? null;
    this.#draw();
    this.dispatchEvent(new CustomEvent("open", { detail: { case: this.current } }));
  }

  /** Asks for a new case's title. */
  create() {
    this.#dialog("new_case", { title: "", organ: null, context: "" }, async (fields) => {
      const made = await this.server.post("api/v1/cases", fields);
      await this.load(made.id);
    });
  }

  /** Changes title, organ and clinical context. */
  edit() {
    if (!this.current) return;
    const id = this.current.id;
    this.#dialog("case_edit", this.current, async (fields) => {
      const changed = await this.server.patch(`api/v1/cases/${id}`, fields);
      this.cases = this.cases.map((one) => (one.id === id ? changed : one));
      this.current = changed;
      this.#draw();
      this.dispatchEvent(new CustomEvent("changed", { detail: { case: changed } }));
    });
  }

  #choose(id) {
    if (id === "") {
      this.select.value = this.current?.id ?? "";
      return;
    }
    this.current = this.cases.find((one) => one.id === id);
    this.#draw();
    this.dispatchEvent(new CustomEvent("open", { detail: { case: this.current } }));
  }

  #draw() {
    this.select.replaceChildren(
      ...this.cases.map((one) => el("option", { value: one.id }, one.title)),
    );
    if (!this.cases.length) this.select.append(el("option", { value: "" }, text("no_case")));
    this.select.value = this.current?.id ?? "";
    this.select.setAttribute("aria-label", text("cases"));
    this.editButton.hidden = !this.current;
    this.missing.hidden = !this.current || Boolean(this.current.context.trim());
  }

  #dialog(title, shown, save) {
    const name = el("input", {
      type: "text",
      required: true,
      maxlength: "200",
      value: shown.title,
      hint: "case_title_hint",
    });
    const organ = el(
      "select",
      {},
      el("option", { value: "", say: "organ_none" }),
      ORGANS.map((key) => el("option", { value: key, say: `organ_${key.replace(" ", "_")}` })),
    );
    organ.value = shown.organ ?? "";
    const context = el("textarea", { rows: "5", maxlength: "10000", hint: "case_context_hint" });
    context.value = shown.context;
    openDialog(
      title,
      [field("case_title", name), field("case_organ", organ), field("case_context", context)],
      {
        save: () =>
          save({ title: name.value.trim(), organ: organ.value, context: context.value.trim() }),
      },
    );
    (shown.title ? context : name).focus();
  }
}
