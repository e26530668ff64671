// The narrow strip on the left: the case, its slides, and how they come in.

import { arrange, el, icon, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { label, text } from "./language.js";
import { complain, field, isDialogOpen, openDialog } from "./notices.js";
import { searchList } from "./search_list.js";
import { SharedFields } from "./shared_fields.js";

const STAINS = ["HE", "IHC", "PAS", "Masson", "Ag", "AB"];
const POLL_MS = 1500;
const THUMBNAIL_PX = 320;

/** Slides of the server's folders that are shown at once; the others are found by typing. */
const MOST = 200;

/** Fires "slide" {slide} when one is chosen and "changed" when the case's slides have changed. */
export class Strip extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.case = null;
    this.slides = [];
    this.sending = [];
    this.drawn = new Map();
    this.asked = 0;
    this.had = 0;
    this.underWay = 0;
    this.list = el("ol", { class: "rc-slides", aria: "slides" });
    this.file = el("input", {
      type: "file",
      multiple: true,
      hidden: true,
      on: { change: () => this.send([...this.file.files]) },
    });
    this.foot = el(
      "div",
      { class: "rc-strip-foot" },
      wideButton(ICONS.upload, "slide_upload", () => this.file.click()),
      wideButton(ICONS.folder, "slide_from_folder", () => this.#chooseFromFolder()),
    );
    this.element = el(
      "nav",
      { class: "rc-strip", aria: "slides" },
      this.list,
      this.foot,
      this.file,
      el("div", { class: "rc-drop", say: "drop_here" }),
    );
    this.#acceptDrops();
    addEventListener("beforeunload", (event) => {
      if (this.sending.length) event.preventDefault(); // the browser asks first
    });
    setInterval(() => this.#poll(), POLL_MS);
  }

  /** Shows a case's slides. */
  async open(whole) {
    this.clear();
    this.case = whole;
    await this.reload();
  }

  /** Shows no case. */
  clear() {
    this.case = null;
    this.slides = [];
    this.chosen = null;
    this.drawn.clear();
    this.#draw();
  }

  /** Asks the server for the slides again; what was asked later counts, however late this comes. */
  async reload() {
    const caseId = this.case?.id;
    const number = ++this.asked;
    this.underWay += 1;
    try {
      const slides = caseId ? await this.#slidesOf(caseId) : [];
      if (this.case?.id !== caseId || number < this.had) return;
      this.had = number;
      this.hasComplained = false;
      this.slides = slides;
    } finally {
      this.underWay -= 1;
    }
    this.#draw();
    this.#tell("changed");
  }

  async #slidesOf(caseId) {
    const address = `api/v1/cases/${caseId}`;
    const slides = await this.server.list(`${address}/slides`);
    const jobs = slides.some(isReading) ? await this.server.list(`${address}/jobs`) : [];
    return slides.map((slide, index) => ({
      ...slide,
      letter: letterOf(index),
      job: jobs.find(({ kind, slide_id }) => kind === "read" && slide_id === slide.id) ?? null,
    }));
  }

  /** Marks the slide in view. */
  choose(slideId) {
    this.chosen = slideId;
    this.#draw();
  }

  /** The slide before or after the one in view. */
  step(by) {
    const index = this.slides.findIndex(({ id }) => id === this.chosen) + by;
    if (this.slides[index]) this.#tell("slide", { slide: this.slides[index] });
  }

  /** Uploads files into the case, one after the other. */
  async send(files) {
    this.file.value = "";
    if (!this.case) return;
    const caseId = this.case.id;
    await this.#add(files, 0, (item) => {
      const form = new FormData();
      form.append("file", item.of, item.of.name);
      return this.server.upload(`cases/${caseId}/slides`, form, item.show);
    });
  }

  /** Brings slides in one after the other; what fails is told, and the others come. */
  async #add(things, share, bring) {
    const caseId = this.case.id;
    const waiting = things.map((of) => ({ of, ...sendingEntry(of.name, share) }));
    this.sending.push(...waiting);
    for (const item of waiting) {
      this.#draw();
      try {
        await bring(item);
      } catch (error) {
        complain(error, item.of.name);
      }
      this.sending.splice(this.sending.indexOf(item), 1);
      // The poll asks again where this is refused.
      if (this.case?.id === caseId) await this.reload().catch(() => {});
      this.#draw();
    }
  }

  #draw() {
    const focused = document.activeElement?.closest?.("[data-slide]")?.dataset.slide;
    const kept = new Set(this.slides.map(({ id }) => id));
    for (const id of this.drawn.keys()) if (!kept.has(id)) this.drawn.delete(id);
    const nodes = this.slides.map((slide) => this.#drawnEntry(slide));
    nodes.push(...this.sending.map(({ node }) => node));
    if (!nodes.length && this.case) nodes.push(el("li", { class: "rc-hint", say: "slide_none" }));
    arrange(this.list, nodes);
    this.foot.hidden = !this.case;
    if (focused && !this.list.contains(document.activeElement)) {
      this.list.querySelector(`[data-slide="${focused}"] button`)?.focus();
    }
  }

  /** A slide's entry; one that hasn't changed stays, with its picture. */
  #drawnEntry(slide) {
    const { job, ...lasting } = slide;
    const state = JSON.stringify(lasting);
    let drawn = this.drawn.get(slide.id);
    if (drawn?.state !== state) {
      drawn = { state, ...this.#entry(slide) };
      this.drawn.set(slide.id, drawn);
    }
    drawn.show(slide, slide.id === this.chosen);
    return drawn.node;
  }

  #entry(slide) {
    const isUnread = hasFailedReading(slide);
    const state = el("span", { class: `rc-state rc-state-${isUnread ? "failed" : slide.state}` });
    const image = el("img", {
      src: this.server.thumbnailUrl(slide.id, THUMBNAIL_PX),
      alt: "",
      loading: "lazy",
    });
    const choice = el(
      "button",
      {
        type: "button",
        class: "rc-slide",
        title: isUnread ? slide.error : null,
        on: { click: () => this.#tell("slide", { slide }) },
      },
      slide.state === "failed" ? el("span", { class: "rc-broken" }, "!") : image,
      el(
        "span",
        { class: "rc-slide-words" },
        el("b", {}, slide.letter),
        el("span", {}, slideWords(slide)),
        state,
      ),
    );
    const node = el(
      "li",
      { "data-slide": slide.id },
      choice,
      iconButton(ICONS.edit, "slide_edit", () => this.#edit(slide.id).catch(complain), {
        class: "rc-button rc-icon-button rc-slide-edit",
      }),
      isUnread
        ? iconButton(ICONS.retry, "slide_read_again", () => this.#readAgain(slide.id).catch(complain), {
            class: "rc-button rc-icon-button rc-slide-again rc-changes",
          })
        : null,
    );
    const show = (now, isChosen) => {
      const words = stateWords(now);
      if (state.dataset.say !== JSON.stringify(words)) label(state, "say", words);
      node.classList.toggle("rc-chosen", isChosen);
      if (isChosen) choice.setAttribute("aria-current", "true");
      else choice.removeAttribute("aria-current");
    };
    return { node, show };
  }

  async #readAgain(slideId) {
    await this.server.post(`api/v1/slides/${slideId}/read`);
    await this.reload();
  }

  /** Changes what is said of a slide, as it stands by now. */
  async #edit(slideId) {
    const address = `api/v1/slides/${slideId}`;
    const load = () => this.server.get(address);
    const slide = await load();
    if (this.case?.id !== slide.case_id || isDialogOpen()) return; // another was opened meanwhile
    const stain = el("input", { type: "text", list: "rc-stains", maxlength: "40" });
    const block = el("input", { type: "text", maxlength: "40" });
    const fields = new SharedFields({ stain, block }, slide);
    const stains = el("datalist", { id: "rc-stains" }, STAINS.map((name) => el("option", { value: name })));
    const mpp = el("input", {
      type: "number",
      min: "0.01",
      max: "20",
      step: "any",
      value: slide.given_mpp ?? "",
    });
    const needsMpp = slide.mpp === null || slide.mpp_source === "user";
    openDialog(
      "slide_edit",
      [
        el("p", { class: "rc-quiet" }, slide.name),
        field("slide_stain", stain),
        field("slide_block", block),
        stains,
        needsMpp ? field("slide_mpp", mpp) : null,
      ],
      {
        save: async () => {
          const given = needsMpp && mpp.value ? Number(mpp.value) : slide.given_mpp;
          const more = given === slide.given_mpp ? {} : { given_mpp: given };
          const send = (changes) => this.server.patch(address, { ...changes, ...more });
          const isSaved = await fields.save(send, load);
          await this.reload().catch(complain);
          return isSaved;
        },
        remove: async () => {
          if (!confirm(text("slide_remove_sure"))) return false;
          await this.server.remove(address);
          await this.reload().catch(complain);
        },
      },
    );
  }

  #chooseFromFolder() {
    const chosen = new Map();
    const count = el("p", { class: "rc-quiet", role: "status" });
    const find = async (query) => {
      // The list that opens shows what was copied a moment ago; one that is searched is kept.
      const fields = new URLSearchParams({ query, limit: MOST, anew: query === "" });
      const { entries, total, cut } = await this.server.get(`folders?${fields}`);
      const note = cut.length ? ["folder_cut", { folders: cut.join(", ") }] : null;
      return { items: entries, total, note };
    };
    const entry = (slide) => {
      const box = el("input", { type: "checkbox", checked: chosen.has(slide.id) });
      box.addEventListener("change", () => {
        if (box.checked) chosen.set(slide.id, slide);
        else chosen.delete(slide.id);
        label(count, "say", ["slide_chosen", { count: chosen.size }]);
      });
      const doubt = slide.sign ? el("span", { class: "rc-badge", say: `sign_${slide.sign}` }) : null;
      return el("label", { class: "rc-choice" }, box, slide.name, doubt);
    };
    const list = searchList({ hint: "slide_search", find, entry, nothing: "slide_none_found" });
    const save = async () => {
      const caseId = this.case.id;
      this.#add([...chosen.values()], 1, ({ of }) =>
        this.server.post(`cases/${caseId}/slides/from-folder`, { entry: of.id }),
      );
    };
    openDialog("slide_from_folder", [list, count], { save, saySave: "slide_add_chosen" });
  }

  async #poll() {
    if (!this.case || document.hidden || this.underWay) return;
    const isLate = this.had < this.asked; // the last one was refused
    if (!isLate && !this.slides.some(isReading)) return;
    try {
      await this.reload();
    } catch (error) {
      if (!error.status || this.hasComplained) return;
      this.hasComplained = true;
      complain(error);
    }
  }

  #acceptDrops() {
    const takesFiles = () => this.case && !this.element.closest(".rc-read-only");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault(); // else the browser leaves the page and opens the file
      if (takesFiles()) this.element.classList.add("rc-dropping");
      else event.dataTransfer.dropEffect = "none";
    });
    for (const name of ["dragleave", "drop"]) {
      document.addEventListener(name, (event) => {
        if (name === "drop" && hasFiles(event)) {
          event.preventDefault();
          if (takesFiles()) this.send([...event.dataTransfer.files]);
        }
        if (name === "drop" || event.relatedTarget === null) {
          this.element.classList.remove("rc-dropping");
        }
      });
    }
  }

  #tell(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** A, B, … Z, AA: how slides of a case are called. */
export function letterOf(index) {
  const last = String.fromCharCode(65 + (index % 26));
  return index < 26 ? last : letterOf(Math.floor(index / 26) - 1) + last;
}

/** How the list calls a slide beside its letter. */
export function slideWords({ stain, block, name }) {
  return [stain, block].filter(Boolean).join(" · ") || name;
}

function wideButton(path, say, click) {
  return el(
    "button",
    { type: "button", class: "rc-button rc-wide", name: say, on: { click } },
    icon(path),
    el("span", { say }),
  );
}

/** An entry of what is on its way, and how to show which share of it is sent. */
function sendingEntry(name, begun) {
  const bar = el("progress", { max: "1" });
  const state = el("span", { class: "rc-state" });
  const file = el("span", { class: "rc-file" }, name);
  const node = el("li", { class: "rc-sending" }, file, state, bar);
  const show = (share) => {
    bar.value = share;
    const percent = Math.floor(share * 100);
    label(state, "say", share < 1 ? ["slide_sending", { share: percent }] : ["slide_checking", {}]);
  };
  show(begun);
  return { node, show };
}

function isReading({ state }) {
  return state === "reading";
}

/** Whether the model couldn't read a slide that can be looked at; one without a resolution waits for it. */
function hasFailedReading({ state, error, mpp }) {
  return state === "new" && Boolean(error) && mpp !== null;
}

function stateWords(slide) {
  if (hasFailedReading(slide)) return ["slide_unread", {}];
  const job = slide.job;
  if (slide.state === "reading" && job?.total) {
    return ["slide_reading", { share: Math.floor((100 * job.done) / job.total) }];
  }
  return [slide.state === "reading" ? "slide_reading_begins" : `slide_${slide.state}`, {}];
}
