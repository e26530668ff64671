// Which marks and masks lie over the slide, how strongly, and what their colours mean.

import { el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { label, language, onLanguage, text } from "./language.js";

const MARKS = ["citations", "regions", "findings"];
const MASKS = ["classes", "tissue", "quality"];
const OPACITY = { classes: 0.45, tissue: 0.35, quality: 0.5 };

/** The menu, and the state that it sets on panes. */
export class OverlayMenu {
  constructor(panes) {
    this.panes = panes;
    this.given = new Map();
    this.shown = new Set();
    this.opacity = { ...OPACITY };
    this.boxes = {};
    this.sliders = {};
    this.legends = Object.fromEntries(MASKS.map((mask) => [mask, el("ul", { class: "rc-legend" })]));
    this.button = iconButton(ICONS.layers, "overlays", () => this.toggleMenu(), {
      "aria-expanded": "false",
      "aria-controls": "rc-overlays",
    });
    this.element = el(
      "div",
      { class: "rc-popover", id: "rc-overlays", role: "group", name: "overlays", hidden: true },
      MARKS.map((layer) => this.#row(layer, (shown) => this.#showMarks(layer, shown))),
      el("hr"),
      MASKS.map((mask) => [
        this.#row(mask, (shown) => this.#showMask(mask, shown), this.#slider(mask)),
        this.legends[mask],
      ]),
    );
    for (const layer of MARKS) this.boxes[layer].checked = true;
    onLanguage(() => this.#refresh());
    this.#refresh();
  }

  /** Opens or closes the menu. */
  toggleMenu(open = this.element.hidden) {
    this.element.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
  }

  /**
   * Takes what a slide has.
   *
   * @param {Record<string, {url: string, x: number, y: number, width: number, height: number,
   *   legend: Array<{key: string, color: number[], en: string, zh: string}>}>} masks by name.
   */
  load(pane, masks) {
    this.given.set(pane, masks);
    this.#refresh();
  }

  /** Switches a layer of marks or a mask, as a key does. */
  toggle(name) {
    const box = this.boxes[name];
    if (box.disabled) return;
    box.checked = !box.checked;
    box.dispatchEvent(new Event("change"));
  }

  #row(layer, show, extra = null) {
    this.boxes[layer] = el("input", {
      type: "checkbox",
      on: { change: () => show(this.boxes[layer].checked) },
    });
    const words = el("span", { say: `layer_${layer}` });
    return el("div", { class: "rc-row" }, el("label", {}, this.boxes[layer], words), extra);
  }

  #slider(mask) {
    const slider = el("input", {
      type: "range",
      min: "0.1",
      max: "1",
      step: "0.05",
      value: this.opacity[mask],
      on: {
        input: () => {
          this.opacity[mask] = Number(slider.value);
          this.#draw();
        },
      },
    });
    this.sliders[mask] = slider;
    return slider;
  }

  #showMarks(layer, shown) {
    for (const pane of this.panes) pane.marks.toggle(layer, shown);
  }

  #showMask(mask, shown) {
    if (shown) this.shown.add(mask);
    else this.shown.delete(mask);
    this.#draw();
    this.#refresh();
  }

  #draw() {
    for (const pane of this.panes) {
      const masks = this.given.get(pane) ?? {};
      const images = MASKS.filter((mask) => this.shown.has(mask) && masks[mask]).map((mask) => ({
        image: { ...masks[mask], opacity: this.opacity[mask] },
      }));
      pane.marks.set("masks", images);
    }
  }

  #refresh() {
    const all = this.panes.map((pane) => this.given.get(pane) ?? {});
    for (const mask of MASKS) {
      const exists = all.some((masks) => masks[mask]);
      this.boxes[mask].disabled = !exists;
      this.sliders[mask].hidden = !this.shown.has(mask) || !exists;
      label(this.boxes[mask].parentElement, "name", exists ? `layer_${mask}` : "layer_absent");
      label(this.sliders[mask], "name", ["layer_opacity", { layer: text(`layer_${mask}`) }]);
      const legend = joined(all.map((masks) => masks[mask]?.legend ?? []));
      this.legends[mask].hidden = !this.shown.has(mask) || !exists;
      this.legends[mask].replaceChildren(
        ...legend.map((item) =>
          el(
            "li",
            {},
            el("i", { style: `background: rgb(${item.color.map(Number).join(",")})` }),
            language() === "zh" ? item.zh : item.en,
          ),
        ),
      );
    }
    this.#draw();
  }
}

/** What the colours of several slides mean, each once. */
export function joined(legends) {
  return [...new Map(legends.flat().map((item) => [item.key, item])).values()];
}
