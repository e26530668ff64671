// Cases: choose one, make one, say what is known clinically.

import { button, el, icon, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { language, onLanguage, text } from "./language.js";
import { complain, field, isDialogOpen, notify, openDialog } from "./notices.js";
import { holds, searchList } from "./search_list.js";
import { membersOf, openSharing } from "./sharing.js";
import { SharedFields } from "./shared_fields.js";

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

/** What is known of a case that is to be made. */
const NONE = { title: "", organ: null, context: "" };

/** Cases that the list shows at once; the others are found by typing. */
const MOST = 200;

/** The case's name in the top bar, and the list behind it; fires "open" {case}. */
export class Cases extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.cases = [];
    this.current = null;
    this.title = el("b", { class: "rc-case-title" });
    this.chooseButton = el(
      "button",
      {
        type: "button",
        class: "rc-button rc-case-name",
        name: "case_choose",
        "aria-haspopup": "dialog",
        on: { click: () => this.choose().catch(complain) },
      },
      this.title,
      icon(ICONS.down),
    );
    this.editButton = iconButton(ICONS.edit, "case_edit", () => this.edit().catch(complain), CHANGES);
    this.shareButton = iconButton(ICONS.share, "case_share", () => this.share().catch(complain), {
      class: `${CHANGES.class} rc-share`,
    });
    this.element = el(
      "div",
      { class: "rc-cases" },
      this.chooseButton,
      this.editButton,
      this.shareButton,
      iconButton(ICONS.add, "new_case", () => this.create(), CHANGES),
    );
    this.missing = el(
      "p",
      { class: "rc-missing", hidden: true },
      el("span", { say: "context_missing" }),
      button("context_add", () => this.edit().catch(complain), { class: "rc-button rc-small rc-changes" }),
    );
    onLanguage(() => this.#draw());
  }

  /** Lists the cases and opens the wanted one, else the last used. */
  async load(wantedId = null) {
    this.cases = await this.server.list("api/v1/cases");
    const find = (id) => this.cases.find((one) => one.id === id);
    if (wantedId && !find(wantedId)) notify(text("case_gone"), { isError: true });
    this.#open(find(wantedId) ?? find(this.current?.id) ?? this.cases[0] ?? null);
  }

  /** Shows all cases to choose from; others may have changed them meanwhile. */
  async choose() {
    this.cases = await this.server.list("api/v1/cases");
    if (isDialogOpen()) return; // it was pressed twice
    const find = async (query) => {
      const found = this.cases.filter((one) => holds(wordsOf(one), query));
      return { items: found.slice(0, MOST), total: found.length };
    };
    const entry = (one) => this.#entry(one, () => dialog.close());
    const list = searchList({ hint: "case_search", find, entry, nothing: "case_none_found" });
    const dialog = openDialog("cases", [list]);
  }

  /** Opens the case before or after this one, in the order of the list. */
  step(by) {
    const index = this.cases.findIndex(({ id }) => id === this.current?.id) + by;
    if (this.cases[index]) this.#open(this.cases[index]);
  }

  /** Asks for a new case's title. */
  create() {
    this.#dialog("new_case", NONE, async (fields) => {
      const { seen, ...own } = fields.changes();
      const made = await this.server.post("api/v1/cases", own);
      this.cases = [made, ...this.cases];
      this.#open(made);
    });
  }

  /** Changes title, organ and clinical context, as they stand by now. */
  async edit() {
    const id = this.current?.id;
    if (!id) return;
    const load = () => this.server.get(`api/v1/cases/${id}`);
    const before = await load();
    if (this.current?.id !== id || isDialogOpen()) return; // another was opened meanwhile
    const send = async (changes) => this.#show(await this.server.patch(`api/v1/cases/${id}`, changes));
    const remove = async () => {
      if (!confirm(text("case_remove_sure", { title: before.title }))) return false;
      await this.server.remove(`api/v1/cases/${id}`);
      await this.#leave(id);
    };
    const isOwn = before.owner_id === this.server.userId;
    this.#dialog("case_edit", before, (fields) => fields.save(send, load), isOwn ? remove : null);
  }

  /** Shows with whom the case is shared, to be changed by its owner. */
  async share() {
    const shared = this.current;
    if (!shared) return;
    const members = await membersOf(this.server, shared);
    if (this.current?.id !== shared.id || isDialogOpen()) return; // another was opened meanwhile
    openSharing(this.server, shared, members, () => this.#leave(shared.id));
  }

  /** Opens another case, as this one is gone or no longer the user's to see. */
  async #leave(id) {
    if (this.current?.id === id) await this.load();
  }

  /** Takes over what a case has become. */
  #show(changed) {
    this.cases = this.cases.map((one) => (one.id === changed.id ? changed : one));
    if (this.current?.id !== changed.id) return;
    this.current = changed;
    this.#draw();
    this.dispatchEvent(new CustomEvent("changed", { detail: { case: changed } }));
  }

  #open(one) {
    this.current = one;
    this.#draw();
    this.dispatchEvent(new CustomEvent("open", { detail: { case: one } }));
  }

  #entry(one, close) {
    const day = new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en", { dateStyle: "medium" });
    return el(
      "button",
      {
        type: "button",
        class: "rc-choice",
        "aria-current": one.id === this.current?.id ? "true" : null,
        on: {
          click: () => {
            close();
            this.#open(one);
          },
        },
      },
      el("b", {}, one.title),
      el("span", { class: "rc-quiet" }, organWords(one)),
      el("time", { class: "rc-quiet" }, day.format(new Date(one.updated_at))),
    );
  }

  #draw() {
    this.title.textContent = this.current?.title ?? text("no_case");
    this.editButton.hidden = this.shareButton.hidden = !this.current;
    this.missing.hidden = !this.current || Boolean(this.current.context.trim());
  }

  #dialog(title, shown, save, remove = null) {
    const name = el("input", {
      type: "text",
      required: true,
      maxlength: "200",
      hint: "case_title_hint",
    });
    const organ = el(
      "select",
      {},
      el("option", { value: "", say: "organ_none" }),
      ORGANS.map((key) => el("option", { value: key, say: `organ_${key.replace(" ", "_")}` })),
    );
    const context = el("textarea", { rows: "5", maxlength: "10000", hint: "case_context_hint" });
    const fields = new SharedFields({ title: name, organ, context }, shown);
    openDialog(
      title,
      [field("case_title", name), field("case_organ", organ), field("case_context", context)],
      { save: () => save(fields), remove },
    );
    (shown.title ? context : name).focus();
  }
}

function organWords({ organ }) {
  if (!organ) return "";
  return ORGANS.includes(organ) ? text(`organ_${organ.replace(" ", "_")}`) : organ;
}

/** What a case is found by. */
function wordsOf(one) {
  return [one.title, one.organ, organWords(one), one.context].join(" ");
}
