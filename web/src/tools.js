// What the pointer does on the slide: move, draw a region, measure a length, lay down 1 mm2.

import {
  MM2_RADIUS_UM,
  boxAround,
  circlePoints,
  distance,
  formatArea,
  formatLength,
  insideSlide,
  rectanglePoints,
  ringArea,
} from "./measure.js";

const MIN_SIDE_PX = 4;
/** Screen pixels below which a drawn shape counts as a slip of the hand. */

const CLOSE_PX = 10;
/** Distance on screen to the first point at which a click closes a polygon. */

export const TOOLS = ["move", "rectangle", "polygon", "ruler", "circle"];

/** Fires "tool" when another is taken, and "region" with {shape, points} once one is drawn. */
export class Tools extends EventTarget {
  constructor(view, marks) {
    super();
    this.view = view;
    this.marks = marks;
    this.tool = "move";
    this.borrowed = null;
    this.points = [];
    this.start = null;
    this.freehand = false;
    const osd = view.osd;
    osd.addHandler("canvas-press", (event) => this.#press(event));
    osd.addHandler("canvas-drag", (event) => this.#drag(event));
    osd.addHandler("canvas-drag-end", (event) => this.#release(event));
    osd.addHandler("canvas-click", (event) => this.#click(event));
    osd.addHandler("canvas-double-click", (event) => this.#doubleClick(event));
    view.element.addEventListener("pointermove", (event) => this.#hover(event));
    view.element.addEventListener("pointerleave", () => this.#tell("leave"));
  }

  /** Takes a tool; what was being drawn is dropped, a length or circle stays until then. */
  take(tool) {
    this.drop();
    this.borrowed = null;
    this.tool = tool;
    this.view.element.dataset.tool = tool;
    this.#tell("tool");
  }

  /** Moves as long as a key is held, then goes on with the tool at hand. */
  borrow(moving) {
    if (moving && !this.borrowed && this.tool !== "move") {
      this.borrowed = this.tool;
      this.tool = "move";
    } else if (!moving && this.borrowed) {
      this.tool = this.borrowed;
      this.borrowed = null;
    } else return;
    this.view.element.dataset.tool = this.tool;
    this.#tell("tool");
  }

  /** Drops what is being drawn or measured; whether there was anything. */
  drop() {
    const had = this.points.length > 0 || this.marks.items.measures.length > 0;
    this.points = [];
    this.start = null;
    this.freehand = false;
    this.marks.set("draft", []);
    this.marks.set("measures", []);
    return had;
  }

  /** Takes back a polygon's last point. */
  undoPoint() {
    if (this.tool !== "polygon" || !this.points.length) return false;
    this.points.pop();
    this.#sketch();
    return true;
  }

  /** Closes a polygon; whether one was open. */
  finish() {
    if (this.tool !== "polygon" || this.points.length < 3 || !this.view.info) return false;
    this.#done("polygon", this.points);
    return true;
  }

  /** Goes on with the points of an outline that couldn't be saved, as a polygon that is open. */
  giveBack(points) {
    this.take("polygon");
    this.points = points;
    this.#sketch();
  }

  #press(event) {
    if (this.tool === "move" || !this.view.info) return;
    this.start = this.view.toSlide(event.position);
    this.freehand = false;
  }

  #drag(event) {
    if (this.tool === "move" || !this.start || !this.view.info) return;
    event.preventDefaultAction = true;
    const point = this.view.toSlide(event.position);
    if (this.tool === "polygon") {
      if (!this.points.length) {
        this.freehand = true;
        this.points = [this.start];
      }
      if (this.freehand) this.points.push(point);
      this.#sketch();
    } else if (this.tool === "rectangle") {
      this.points = rectanglePoints(this.start, this.#squared(point, event.shift));
      this.#sketch();
    } else if (this.tool === "ruler") {
      this.#measure([this.start, point]);
    } else {
      this.#circle(point);
    }
  }

  #release(event) {
    if (this.tool === "move" || !this.start || !this.view.info) return;
    event.preventDefaultAction = true;
    this.start = null;
    if (this.tool === "rectangle" && this.points.length) this.#done("rectangle", this.points);
    if (this.tool === "polygon" && this.freehand) {
      this.freehand = false;
      this.#done("polygon", thinned(this.points, 3 * this.#pxSpan()));
    }
  }

  #click(event) {
    if (!event.quick || !this.view.info) return;
    const point = this.view.toSlide(event.position);
    if (this.tool === "move") {
      this.#tell("pick", { mark: this.marks.at(point) });
      return;
    }
    event.preventDefaultAction = true;
    if (this.tool === "circle") this.#circle(point);
    if (this.tool !== "polygon") return;
    const first = this.points[0];
    if (this.points.length >= 3 && distance(first, point) < CLOSE_PX * this.#pxSpan()) {
      this.#done("polygon", this.points);
    } else {
      this.points.push(point);
      this.#sketch();
    }
  }

  #doubleClick(event) {
    if (this.tool === "move") return;
    event.preventDefaultAction = true;
    if (this.tool === "polygon") {
      this.points = thinned(this.points, this.#pxSpan());
      this.finish();
    }
  }

  #hover(event) {
    if (!this.view.info) return;
    const frame = this.view.element.getBoundingClientRect();
    const place = { x: event.clientX - frame.left, y: event.clientY - frame.top };
    const point = this.view.toSlide(place);
    this.#tell("hover", { point });
    if (this.tool === "polygon" && this.points.length && !this.freehand) this.#sketch(point);
  }

  #squared([x, y], square) {
    if (!square) return [x, y];
    const [startX, startY] = this.start;
    const side = Math.max(Math.abs(x - startX), Math.abs(y - startY));
    return [startX + Math.sign(x - startX) * side, startY + Math.sign(y - startY) * side];
  }

  #sketch(next = null) {
    const points = next ? [...this.points, next] : this.points;
    const area = formatArea(ringArea(points) * this.view.mpp ** 2);
    const open = this.tool === "polygon" && points.length < 3;
    const mark = { rings: [points], style: "rc-draft", name: open ? "" : area, open };
    this.marks.set("draft", points.length ? [mark] : []);
  }

  #measure([from, to]) {
    const length = formatLength(distance(from, to) * this.view.mpp);
    this.marks.set("measures", [
      { id: "ruler", rings: [[from, to]], open: true, style: "rc-ruler", name: length },
    ]);
  }

  #circle(point) {
    const ring = circlePoints(point, MM2_RADIUS_UM / this.view.mpp);
    this.marks.set("measures", [{ id: "circle", rings: [ring], style: "rc-ruler", name: "1 mm²" }]);
  }

  #done(shape, points) {
    const { width, height } = boxAround(points);
    const inside = insideSlide(points, this.view.info.width0, this.view.info.height0);
    this.points = [];
    this.marks.set("draft", []);
    const small = Math.max(width, height) < MIN_SIDE_PX * this.#pxSpan();
    if (small || ringArea(inside) < 1) return;
    this.take("move");
    this.#tell("region", { shape, points: inside });
  }

  /** Level-0 pixels under one screen pixel. */
  #pxSpan() {
    return this.view.umPerPx / this.view.mpp;
  }

  #tell(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

function thinned(points, span) {
  const kept = [];
  for (const point of points) {
    if (!kept.length || distance(kept.at(-1), point) >= span) kept.push(point);
  }
  return kept;
}
