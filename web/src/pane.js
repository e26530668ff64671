// A slide with its marks, tools, scale bar and magnifications.

import { el } from "./dom.js";
import { language, onLanguage, text } from "./language.js";
import { Marks } from "./marks.js";
import { PRESETS, formatLength, formatMagnification, magnification, scaleBar } from "./measure.js";
import { SlideView } from "./slide_view.js";
import { Tools } from "./tools.js";

const BAR_PX = 130;
/** Room for the scale bar, screen pixels. */

/** One half of the stage, or all of it. */
export class Pane {
  constructor() {
    this.canvas = el("div", { class: "rc-canvas" });
    this.overview = el("div", { class: "rc-overview" });
    this.bar = el("div", { class: "rc-bar", role: "img" });
    this.where = el("output", { class: "rc-where" });
    this.caption = el("div", { class: "rc-caption" });
    this.times = el("output", { class: "rc-times" });
    this.presets = PRESETS.map((times) =>
      el(
        "button",
        {
          type: "button",
          name: ["zoom_to", { times: formatMagnification(times) }],
          on: { click: () => this.zoomTo(times) },
        },
        formatMagnification(times),
      ),
    );
    this.zooms = el("div", { class: "rc-zooms", role: "group" }, this.times, this.presets);
    this.empty = el("p", { class: "rc-empty" }, el("span", { say: "viewer_empty" }));
    this.element = el(
      "div",
      { class: "rc-pane", tabindex: "0", role: "application", aria: "viewer" },
      this.canvas,
      this.overview,
      this.caption,
      this.bar,
      this.zooms,
      this.where,
      this.empty,
    );
    this.view = new SlideView(this.canvas, this.overview);
    this.marks = new Marks(this.view);
    this.tools = new Tools(this.view, this.marks);
    this.slide = null;
    this.unshown = null;
    this.regions = [];
    this.wanted = null;
    this.view.addEventListener("change", () => this.#measure());
    this.tools.addEventListener("hover", ({ detail }) => this.#point(detail.point));
    this.tools.addEventListener("leave", () => this.where.replaceChildren());
    onLanguage(() => this.view.info && this.#measure());
    this.zooms.hidden = this.bar.hidden = this.overview.hidden = true;
  }

  /** Shows a slide: `info` for the viewer, `slide` for its caption. */
  async open(slide, info, tileUrl, view) {
    this.#leave();
    this.describe(slide);
    this.empty.hidden = true;
    this.zooms.hidden = this.bar.hidden = this.overview.hidden = false;
    await this.view.open(info, { tileUrl, view });
  }

  /** Takes what is newly known of the slide that is shown. */
  describe(slide) {
    this.slide = slide;
    this.caption.textContent = [slide.letter, slide.stain, slide.block].filter(Boolean).join(" · ");
  }

  /** Shows nothing; what was still on its way here isn't wanted any more. */
  close() {
    this.view.close();
    this.#leave();
    this.wanted = this.slide = null;
    this.caption.textContent = "";
    this.zooms.hidden = this.bar.hidden = this.overview.hidden = true;
  }

  /**
   * Says why nothing is shown.
   *
   * @param {string} say wording.
   * @param {{detail?: string, slide?: object}} why the server's words, and the slide that isn't shown.
   */
  fail(say, { detail = "", slide = null } = {}) {
    this.close();
    this.unshown = slide;
    this.#say(el("span", { say }), detail ? el("small", {}, detail) : null);
  }

  /** Shows no slide, but what to do first. */
  invite(say, choice) {
    this.close();
    this.#say(el("span", { say }), choice);
  }

  /** Forgets what belongs to the slide shown before, what is being drawn on it too. */
  #leave() {
    this.tools.drop();
    this.marks.clear();
    this.regions = [];
    this.unshown = null;
  }

  #say(...nodes) {
    this.empty.hidden = false;
    this.empty.replaceChildren(el("span", { class: "rc-invite" }, nodes));
  }

  /** Shows a magnification. */
  zoomTo(times) {
    if (this.view.info) this.view.setMagnification(times);
  }

  #measure() {
    const umPerPx = this.view.umPerPx;
    const { um, px } = scaleBar(umPerPx, BAR_PX);
    this.bar.style.setProperty("--length", `${px.toFixed(1)}px`);
    this.bar.textContent = formatLength(um);
    this.bar.setAttribute("aria-label", formatLength(um));
    const shown = magnification(umPerPx);
    const words = formatMagnification(shown);
    const rotation = Math.round(this.view.view.rotation);
    this.times.textContent = rotation ? `${words} ${rotation}°` : words;
    this.times.title = text("magnification_now", { times: words });
    this.presets.forEach((preset, index) => {
      const isNow = Math.abs(shown / PRESETS[index] - 1) < 0.02;
      preset.setAttribute("aria-pressed", String(isNow));
    });
  }

  #point([x, y]) {
    const info = this.view.info;
    if (x < 0 || y < 0 || x > info.width0 || y > info.height0) {
      this.where.replaceChildren();
      return;
    }
    const format = new Intl.NumberFormat(language(), { maximumFractionDigits: 0 });
    this.where.textContent = `${format.format(x * info.mpp)}, ${format.format(y * info.mpp)} µm`;
  }
}
