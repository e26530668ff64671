// The narrow strip on the left: the case, its slides, and how they come in.

import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { onLanguage, text } from "./language.js";
import { complain, field, notify, openDialog } from "./notices.js";

const STAINS = ["HE", "IHC", "PAS", "Masson", "Ag", "AB"];
const POLL_MS = 1500;
const THUMBNAIL_PX = 320;

/** Fires "slide" {slide} when one is chosen and "changed" when the case's slides have changed. */
export class Strip extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.case = null;
    this.slides = [];
    this.sending = [];
    this.list = el("ol", { class: "rc-slides", "aria-label": text("slides") });
    this.file = el("input", {
      type: "file",
      multiple: true,
      hidden: true,
      on: { change: () => this.send([...this.file.files]) },
    });
    this.foot = el(
      "div",
      { class: "rc-strip-foot" },
      button("slide_upload", () => this.file.click(), { class: "rc-button rc-wide" }),
      button("slide_from_folder", () => this.#chooseFromFolder(), { class: "rc-button rc-wide" }),
    );
    this.element = el(
      "nav",
      { class: "rc-strip", name: "slides" },
      this.list,
      this.foot,
      this.file,
      el("div", { class: "rc-drop", say: "drop_here" }),
    );
    this.element.removeAttribute("title");
    this.#acceptDrops();
    onLanguage(() => this.#draw());
    setInterval(() => this.#poll(), POLL_MS);
  }

  /** Shows a case's slides. */
  async open(whole) {
    this.case = whole;
    await this.reload();
  }

  /** Asks the server for the slides again. */
  async reload() {
    if (!this.case) {
      this.slides = [];
    } else {
      const slides = await this.server.list(`api/v1/cases/${this.case.id}/slides`);
      this.slides = await Promise.all(
        slides.map(async (slide, index) => ({
          ...slide,
          letter: letterOf(index),
          job: slide.state === "reading" ? await this.#jobOf(slide) : null,
        })),
      );
    }
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
    const waiting = files.map((file) => ({ file, share: 0 }));
    this.sending.push(...waiting);
    for (const item of waiting) {
      this.#draw();
      const form = new FormData();
      form.append("file", item.file, item.file.name);
      try {
        await this.server.upload(`cases/${caseId}/slides`, form, (share) => {
          item.share = share;
          this.#draw();
        });
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
      ...this.slides.map((slide) => this.#entry(slide)),
      ...this.sending.map((item) => sendingEntry(item)),
    );
    if (!this.slides.length && !this.sending.length && this.case) {
      this.list.append(el("li", { class: "rc-hint", say: "slide_none" }));
    }
    this.foot.hidden = !this.case;
    if (focused) this.list.querySelector(`[data-slide="${focused}"] button`)?.focus();
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

  async #chooseFromFolder() {
    try {
      const { entries } = await this.server.get("folders");
      const list = el("div", { class: "rc-choices" });
      for (const entry of entries) {
        const box = el("input", { type: "checkbox", value: entry.id });
        list.append(el("label", {}, box, entry.name));
      }
      if (!entries.length) list.append(el("p", { class: "rc-quiet", say: "slide_no_folder" }));
      const save = async () => {
        for (const box of list.querySelectorAll("input:checked")) {
          await this.server.post(`cases/${this.case.id}/slides/from-folder`, { entry: box.value });
        }
        await this.reload();
      };
      openDialog("slide_from_folder", [list], entries.length ? { save } : {});
    } catch (error) {
      complain(error);
    }
  }

  async #poll() {
    if (!this.slides.some(({ state }) => state === "reading")) return;
    if (document.hidden) return;
    try {
      await this.reload();
    } catch (error) {
      if (error.status) notify(error.message, { isError: true });
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

function sendingEntry({ file, share }) {
  const percent = Math.floor(share * 100);
  const bar = el("progress", { max: "1", value: String(share) });
  const words = share < 1 ? ["slide_sending", { share: percent }] : ["slide_checking", {}];
  return el(
    "li",
    { class: "rc-sending" },
    el("span", { class: "rc-file" }, file.name),
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
