// A slide with its marks, tools, scale bar and magnifications.

import { button, el } from "./dom.js";
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
    this.empty = el("p", { class: "rc-empty", say: "viewer_empty" });
    this.element = el(
      "div",
      { class: "rc-pane", tabindex: "0", role: "application", name: "viewer" },
      this.canvas,
      this.overview,
      this.caption,
      this.bar,
      this.zooms,
      this.where,
      this.empty,
    );
    this.element.removeAttribute("title");
    this.view = new SlideView(this.canvas, this.overview);
    this.marks = new Marks(this.view);
    this.tools = new Tools(this.view, this.marks);
    this.slide = null;
    this.view.addEventListener("change", () => this.#measure());
    this.tools.addEventListener("hover", ({ detail }) => this.#point(detail.point));
    this.tools.addEventListener("leave", () => this.where.replaceChildren());
    onLanguage(() => this.view.info && this.#measure());
    this.zooms.hidden = this.bar.hidden = this.overview.hidden = true;
  }

  /** Shows a slide: `info` for the viewer, `slide` for its caption. */
  async open(slide, info, tileUrl, view) {
    this.marks.clear();
    this.slide = slide;
    this.empty.hidden = true;
    this.caption.textContent = [slide.letter, slide.stain, slide.block].filter(Boolean).join(" · ");
    this.zooms.hidden = this.bar.hidden = this.overview.hidden = false;
    await this.view.open(info, { tileUrl, view });
  }

  /** Says why nothing is shown. */
  fail(message) {
    this.view.close();
    this.marks.clear();
    this.slide = null;
    this.empty.hidden = false;
    this.empty.textContent = message;
    this.zooms.hidden = this.bar.hidden = this.overview.hidden = true;
  }

  /** Shows no slide, but what to do first. */
  invite(say, buttonSay, click) {
    this.fail("");
    const choice = button(buttonSay, click, { class: "rc-button rc-primary rc-changes" });
    this.empty.replaceChildren(el("span", { class: "rc-invite" }, el("span", { say }), choice));
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
