// What lies over the slide: shapes with names, masks, and what is being drawn.

import { svg } from "./dom.js";
import { text } from "./language.js";
import { boxAround, isLine, rectanglePoints, ringsOf } from "./measure.js";
import { TEXTS } from "./texts.js";

const LAYERS = ["masks", "findings", "regions", "citations", "measures", "draft"];
const LABEL_PX = 11;

/** Names that regions get by themselves, in any language. */
const NUMBERED = new RegExp(`^(?:${Object.values(TEXTS.region).join("|")}) (\\d{1,9})$`);

/** Names in view beyond which they would only hide the slide: then the chosen mark keeps its own. */
const MOST_NAMES = 150;

/**
 * Draws marks over a `SlideView`.
 *
 * A mark is `{id, rings, name, color, style, open, of}`: rings of [x, y] in level-0 pixels; colour
 * as [red, green, blue]; style a class; open for a line; `of` whatever the mark stands for.
 */
export class Marks {
  constructor(view) {
    this.view = view;
    this.selected = null;
    this.hidden = new Set();
    this.items = Object.fromEntries(LAYERS.map((layer) => [layer, []]));
    this.groups = Object.fromEntries(
      LAYERS.map((layer) => [layer, svg("g", { class: `rc-layer-${layer}` })]),
    );
    this.names = svg("g", { class: "rc-names" });
    this.shapes = svg("g", {}, Object.values(this.groups));
    this.element = svg("svg", { class: "rc-marks", "aria-hidden": "true" }, this.shapes, this.names);
    view.element.querySelector(".openseadragon-canvas").append(this.element);
    view.addEventListener("change", () => this.#place());
  }

  /** Replaces a layer's marks. */
  set(layer, items) {
    this.items[layer] = items;
    this.#draw(layer);
    this.#place();
  }

  /** Removes everything of the slide shown before. */
  clear() {
    for (const layer of LAYERS) this.items[layer] = [];
    this.selected = null;
    for (const layer of LAYERS) this.#draw(layer);
    this.names.replaceChildren();
  }

  /** Shows or hides a layer; whether it is shown now. */
  toggle(layer, shown = this.hidden.has(layer)) {
    if (shown) this.hidden.delete(layer);
    else this.hidden.add(layer);
    this.groups[layer].toggleAttribute("hidden", !shown);
    this.#place();
    return shown;
  }

  /** Fills shapes with their colour, or leaves outlines. */
  toggleFill() {
    return this.element.classList.toggle("rc-filled");
  }

  /** Marks one shape as chosen; null for none. */
  select(id) {
    this.selected = id;
    for (const layer of LAYERS) this.#draw(layer);
    this.#place();
  }

  /** The smallest mark of the shown layers around a point, or null. */
  at([x, y], layers = ["citations", "regions", "findings"]) {
    const found = layers
      .filter((layer) => !this.hidden.has(layer))
      .flatMap((layer) => this.items[layer])
      .filter((item) => !item.open && contains(item.rings, x, y));
    const size = ({ rings }) => {
      const { width, height } = boxAround(rings[0]);
      return width * height;
    };
    return found.sort((a, b) => size(a) - size(b))[0] ?? null;
  }

  #draw(layer) {
    const nodes = this.items[layer].map((item) =>
      item.image
        ? svg("image", {
            href: item.image.url,
            x: item.image.x,
            y: item.image.y,
            width: item.image.width,
            height: item.image.height,
            opacity: item.image.opacity,
            preserveAspectRatio: "none",
            class: "rc-mask",
          })
        : this.#shape(item),
    );
    this.groups[layer].replaceChildren(...nodes);
  }

  #shape(item) {
    const path = outline(item.rings, item.open);
    const chosen = item.id !== undefined && item.id === this.selected;
    const color = item.color ? `rgb(${item.color.map(Number).join(",")})` : null;
    return svg(
      "g",
      {
        class: `rc-mark ${item.style ?? ""} ${chosen ? "rc-chosen" : ""}`,
        style: color ? `--mark: ${color}` : null,
        "data-mark": item.id,
      },
      svg("path", { d: path, class: "rc-seam" }),
      svg("path", { d: path, class: "rc-line", "fill-rule": "evenodd" }),
    );
  }

  #place() {
    if (!this.view.info) return;
    const matrix = this.view.matrix;
    this.shapes.setAttribute("transform", `matrix(${matrix.join(" ")})`);
    this.names.replaceChildren(...this.#named(matrix).map(({ item, box }) => nameTag(item, box)));
  }

  /** Marks in view that have a name, with the boxes around them on screen. */
  #named(matrix) {
    const { clientWidth, clientHeight } = this.view.element;
    const found = [];
    for (const layer of LAYERS) {
      if (this.hidden.has(layer)) continue;
      for (const item of this.items[layer]) {
        if (!item.name || !item.rings) continue;
        const box = onScreen(item, matrix);
        const across = box.x + box.width > 0 && box.x < clientWidth;
        if (across && box.y + box.height > 0 && box.y < clientHeight) found.push({ item, box });
      }
    }
    const isChosen = ({ item }) => item.id !== undefined && item.id === this.selected;
    return found.length > MOST_NAMES ? found.filter(isChosen) : found;
  }
}

function outline(rings, open) {
  return rings
    .map((ring) => `M${ring.map(([x, y]) => `${x} ${y}`).join("L")}${open ? "" : "Z"}`)
    .join("");
}

/** Box on screen around a mark's box, whose corners are found once. */
function onScreen(item, [a, b, c, d, e, f]) {
  item.box0 ??= boxAround(item.rings[0]);
  const { x, y, width, height } = item.box0;
  const corners = rectanglePoints([x, y], [x + width, y + height]);
  return boxAround(corners.map(([px, py]) => [a * px + c * py + e, b * px + d * py + f]));
}

function nameTag(item, box) {
  const words = String(item.name);
  const width = [...words].reduce((sum, one) => sum + (one > "\u2000" ? 1 : 0.62), 0) * LABEL_PX + 10;
  const color = item.color ? `--mark: rgb(${item.color.map(Number).join(",")})` : null;
  return svg(
    "g",
    {
      class: `rc-name ${item.style ?? ""}`,
      style: color,
      transform: `translate(${Math.round(box.x)} ${Math.round(box.y) - LABEL_PX - 9})`,
    },
    svg("rect", { width, height: LABEL_PX + 7, rx: 4 }),
    svg("text", { x: width / 2, y: LABEL_PX + 2, "text-anchor": "middle" }, words),
  );
}

function contains(rings, x, y) {
  let inside = false;
  for (const ring of rings) {
    ring.forEach(([ax, ay], index) => {
      const [bx, by] = ring[(index + 1) % ring.length];
      if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
    });
  }
  return inside;
}

/** A drawn region. */
export function regionMark(region) {
  return { id: region.id, rings: [region.points], name: region.name, style: "rc-region", of: { region } };
}

/** What a region that is drawn beside others is called: one more than the highest number there. */
export function nextRegionName(regions) {
  const numbers = regions.map(({ name }) => Number(name.match(NUMBERED)?.[1] ?? 0));
  return `${text("region")} ${Math.max(0, ...numbers) + 1}`;
}

/** A region that an answer cites. */
export function citationMark(citation) {
  const { x, y, width, height } = citation.box0;
  return {
    id: citation.mark,
    rings: [rectanglePoints([x, y], [x + width, y + height])],
    name: citation.name,
    color: citation.color,
    style: "rc-citation",
    of: { citation },
  };
}

/** A finding, by how it was decided. */
export function findingMark(finding) {
  return {
    id: finding.id,
    rings: ringsOf(finding.geometry),
    open: isLine(finding.geometry),
    name: finding.name,
    style: `rc-finding-${finding.status}`,
    of: { finding },
  };
}
