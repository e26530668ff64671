// The narrow strip on the left: the case, its slides, and how they come in.

import { el, icon, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { label, onLanguage, text } from "./language.js";
import { complain, field, openDialog } from "./notices.js";
import { searchList } from "./search_list.js";

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
    onLanguage(() => this.#draw());
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

  /** Asks the server for the slides again. */
  async reload() {
    const caseId = this.case?.id;
    const kept = caseId ? await this.server.list(`api/v1/cases/${caseId}/slides`) : [];
    const slides = await Promise.all(
      kept.map(async (slide, index) => ({
        ...slide,
        letter: letterOf(index),
        job: slide.state === "reading" ? await this.#jobOf(slide) : null,
      })),
    );
    if (this.case?.id !== caseId) return; // another case was opened meanwhile
    this.slides = slides;
    this.#draw();
    this.#tell("changed");
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
      return this.server.upload(`cases/${caseId}/slides`, form, (share) => {
        item.share = share;
        this.#draw();
      });
    });
  }

  /** Brings slides in one after the other; what fails is told, and the others come. */
  async #add(things, share, bring) {
    const caseId = this.case.id;
    const waiting = things.map((of) => ({ of, share }));
    this.sending.push(...waiting);
    for (const item of waiting) {
      this.#draw();
      try {
        await bring(item);
      } catch (error) {
        complain(error);
      }
      this.sending.splice(this.sending.indexOf(item), 1);
      if (this.case?.id === caseId) await this.reload();
    }
  }

  async #jobOf(slide) {
    const jobs = await this.server.list(`api/v1/slides/${slide.id}/jobs`);
    return jobs.findLast(({ kind }) => kind === "read") ?? null;
  }

  #draw() {
    const focused = document.activeElement?.closest?.("[data-slide]")?.dataset.slide;
    this.list.replaceChildren(
      ...this.slides.map((slide) => this.#drawnEntry(slide)),
      ...this.sending.map((item) => sendingEntry(item)),
    );
    if (!this.slides.length && !this.sending.length && this.case) {
      this.list.append(el("li", { class: "rc-hint", say: "slide_none" }));
    }
    this.foot.hidden = !this.case;
    if (focused) this.list.querySelector(`[data-slide="${focused}"] button`)?.focus();
  }

  /** A slide's entry; one that hasn't changed stays, with its picture. */
  #drawnEntry(slide) {
    const state = JSON.stringify([slide, slide.id === this.chosen]);
    let drawn = this.drawn.get(slide.id);
    if (drawn?.state !== state) {
      drawn = { state, node: this.#entry(slide) };
      this.drawn.set(slide.id, drawn);
    }
    return drawn.node;
  }

  #entry(slide) {
    const isChosen = slide.id === this.chosen;
    const state = el("span", { class: `rc-state rc-state-${slide.state}`, say: stateWords(slide) });
    const words = [slide.stain, slide.block].filter(Boolean).join(" · ");
    const image = el("img", {
      src: this.server.thumbnailUrl(slide.id, THUMBNAIL_PX),
      alt: "",
      loading: "lazy",
    });
    return el(
      "li",
      { "data-slide": slide.id, class: isChosen ? "rc-chosen" : "" },
      el(
        "button",
        {
          type: "button",
          class: "rc-slide",
          "aria-current": isChosen ? "true" : null,
          on: { click: () => this.#tell("slide", { slide }) },
        },
        slide.state === "failed" ? el("span", { class: "rc-broken" }, "!") : image,
        el(
          "span",
          { class: "rc-slide-words" },
          el("b", {}, slide.letter),
          el("span", {}, words || slide.name),
          state,
        ),
      ),
      iconButton(ICONS.edit, "slide_edit", () => this.#edit(slide), {
        class: "rc-button rc-icon-button rc-slide-edit",
      }),
    );
  }

  #edit(slide) {
    const stain = el("input", { type: "text", value: slide.stain, list: "rc-stains", maxlength: "40" });
    const block = el("input", { type: "text", value: slide.block, maxlength: "40" });
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
          const changes = { stain: stain.value.trim(), block: block.value.trim() };
          if (needsMpp && mpp.value) changes.given_mpp = Number(mpp.value);
          await this.server.patch(`api/v1/slides/${slide.id}`, changes);
          await this.reload();
        },
        remove: async () => {
          if (!confirm(text("slide_remove_sure"))) return;
          await this.server.remove(`api/v1/slides/${slide.id}`);
          await this.reload();
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
      ).catch(complain);
    };
    openDialog("slide_from_folder", [list, count], { save, saySave: "slide_add_chosen" });
  }

  async #poll() {
    if (!this.slides.some(({ state }) => state === "reading")) return;
    if (document.hidden) return;
    try {
      await this.reload();
    } catch (error) {
      if (error.status) complain(error);
    }
  }

  #acceptDrops() {
    const marked = (event) => event.dataTransfer?.types.includes("Files") && this.case;
    document.addEventListener("dragover", (event) => {
      if (!marked(event)) return;
      event.preventDefault();
      this.element.classList.add("rc-dropping");
    });
    for (const name of ["dragleave", "drop"]) {
      document.addEventListener(name, (event) => {
        if (name === "drop" && marked(event)) {
          event.preventDefault();
          this.send([...event.dataTransfer.files]);
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

function wideButton(path, say, click) {
  return el(
    "button",
    { type: "button", class: "rc-button rc-wide", name: say, on: { click } },
    icon(path),
    el("span", { say }),
  );
}

function sendingEntry({ of, share }) {
  const percent = Math.floor(share * 100);
  const bar = el("progress", { max: "1", value: String(share) });
  const words = share < 1 ? ["slide_sending", { share: percent }] : ["slide_checking", {}];
  return el(
    "li",
    { class: "rc-sending" },
    el("span", { class: "rc-file" }, of.name),
    el("span", { class: "rc-state", say: words }),
    bar,
  );
}

function stateWords(slide) {
  const job = slide.job;
  if (slide.state === "reading" && job?.total) {
    return ["slide_reading", { share: Math.floor((100 * job.done) / job.total) }];
  }
  return [slide.state === "reading" ? "slide_reading_begins" : `slide_${slide.state}`, {}];
}
