// One slide on screen: an OpenSeadragon viewer on our tile routes, spoken to in level-0 pixels.

import OpenSeadragon from "openseadragon";

import { magnification, umPerPxAt } from "./measure.js";
import { MissingTiles } from "./missing_tiles.js";

const FLIGHT_MARGIN = 0.35;
/** Share of a box that is left free around it when the view flies there. */

const LEAST_PX = 100;
/** Level-0 pixels that are shown at least where the view flies to a point. */

const CLOSEST_PX = 8;
/** Screen pixels that one level-0 pixel may cover at most. */

/** Shows a slide; fires "open", "change" as the view moves and "rest" once it stands still. */
export class SlideView extends EventTarget {
  /**
   * @param {HTMLElement} element fills it.
   * @param {HTMLElement} overview shows the whole slide in small.
   * @param {{calm?: boolean}} options calm: without moving pictures, as the user's system asks.
   */
  constructor(element, overview, { calm = matchMedia("(prefers-reduced-motion: reduce)").matches } = {}) {
    super();
    this.element = element;
    this.calm = calm;
    this.info = null;
    this.leave = null;
    this.osd = OpenSeadragon({
      element,
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorElement: overview,
      crossOriginPolicy: false,
      animationTime: calm ? 0 : 0.5,
      springStiffness: 8,
      zoomPerScroll: 1.3,
      visibilityRatio: 0.25,
      minZoomImageRatio: 0.5,
      maxZoomPixelRatio: CLOSEST_PX,
      maxImageCacheCount: 600,
      imageLoaderLimit: 8,
      preserveImageSizeOnResize: true,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsPen: { clickToZoom: false, dblClickToZoom: true },
      gestureSettingsTouch: { pinchRotate: false, flickEnabled: true },
    });
    this.tiles = new MissingTiles([this.osd, this.osd.navigator]);
    this.osd.addHandler("canvas-key", (event) => {
      event.preventDefaultAction = true;
    });
    for (const name of ["update-viewport", "resize", "rotate"]) {
      this.osd.addHandler(name, () => this.#tell("change"));
    }
    this.osd.addHandler("animation-finish", () => this.#tell("rest"));
  }

  /** Shows a slide, at a view or as a whole; also done once another is wanted instead. */
  open(info, { tileUrl, view = null }) {
    this.info = null;
    this.leave?.();
    const source = {
      width: info.width0,
      height: info.height0,
      tileSize: info.tile_px,
      tileOverlap: 0,
      minLevel: 0,
      maxLevel: info.num_levels - 1,
      getTileUrl: (level, column, row) => tileUrl(info.id, level, column, row),
    };
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.osd.removeHandler("open", opened);
        this.osd.removeHandler("open-failed", failed);
        this.leave = null;
        resolve();
      };
      const opened = async (event) => {
        if (event.source !== source) return; // of one that was wanted before
        await this.#measured();
        if (this.leave !== leave) return;
        this.info = info;
        if (view) this.setView(view, { still: true });
        else this.osd.viewport.goHome(true);
        this.osd.navigator.updateSize();
        this.#tell("open");
        this.#tell("change");
        leave();
      };
      const failed = (event) => {
        reject(new Error(event.message));
        leave();
      };
      this.leave = leave;
      this.osd.addHandler("open", opened);
      this.osd.addHandler("open-failed", failed);
      this.osd.open(source);
    });
  }

  /** Shows nothing. */
  close() {
    this.info = null;
    this.leave?.();
    this.osd.close();
  }

  /** Micrometres per level-0 pixel. */
  get mpp() {
    return this.info.mpp;
  }

  /** Micrometres per screen pixel, as shown now. */
  get umPerPx() {
    return this.mpp / this.osd.viewport.viewportToImageZoom(this.osd.viewport.getZoom(true));
  }

  /** Magnification shown now. */
  get magnification() {
    return magnification(this.umPerPx);
  }

  /** Where the view stands or is going: middle in level-0 pixels, scale and rotation. */
  get view() {
    const viewport = this.osd.viewport;
    const middle = viewport.viewportToImageCoordinates(viewport.getCenter(false));
    return {
      x: middle.x,
      y: middle.y,
      umPerPx: this.mpp / viewport.viewportToImageZoom(viewport.getZoom(false)),
      rotation: viewport.getRotation(),
    };
  }

  /** Goes to a view; `still` jumps there. */
  setView({ x, y, umPerPx, rotation }, { still = this.calm } = {}) {
    const viewport = this.osd.viewport;
    viewport.setRotation(rotation, true);
    viewport.zoomTo(viewport.imageToViewportZoom(this.mpp / umPerPx), null, still);
    viewport.panTo(viewport.imageToViewportCoordinates(x, y), still);
    if (still) this.#tell("rest");
  }

  /** Shows a magnification around the middle. */
  setMagnification(times) {
    this.setView({ ...this.view, umPerPx: umPerPxAt(times) });
  }

  /** Zooms by a factor around the middle. */
  zoomBy(factor) {
    this.osd.viewport.zoomBy(factor, null, this.calm).applyConstraints(this.calm);
  }

  /** Moves by shares of the window. */
  panBy(right, down) {
    const { width, height } = this.osd.viewport.getBounds(false);
    const step = new OpenSeadragon.Point(right * width, down * height);
    this.osd.viewport.panBy(step.rotate(-this.osd.viewport.getRotation()), this.calm);
    this.osd.viewport.applyConstraints(this.calm);
  }

  /** Turns by degrees, clockwise. */
  rotateBy(degrees) {
    this.osd.viewport.setRotation((this.osd.viewport.getRotation() + degrees + 360) % 360, this.calm);
    this.#tell("rest");
  }

  /** Shows the whole slide. */
  fit() {
    this.osd.viewport.goHome(this.calm);
  }

  /** Goes to a box, level-0 pixels, with room around it. */
  flyTo({ x, y, width, height }) {
    const viewport = this.osd.viewport;
    const margin = (side) => Math.max(side * FLIGHT_MARGIN, (LEAST_PX - side) / 2);
    const [aside, above] = [margin(width), margin(height)];
    const box = viewport.imageToViewportRectangle(
      x - aside,
      y - above,
      width + 2 * aside,
      height + 2 * above,
    );
    viewport.fitBoundsWithConstraints(box, this.calm);
  }

  /** The part of the slide in the window, level-0 pixels; it ignores rotation. */
  get bounds0() {
    const { x, y, width, height } = this.osd.viewport.viewportToImageRectangle(
      this.osd.viewport.getBounds(true),
    );
    return { x, y, width, height };
  }

  /** Level-0 pixels of a place in the element, screen pixels. */
  toSlide(position) {
    const { x, y } = this.osd.viewport.viewerElementToImageCoordinates(
      new OpenSeadragon.Point(position.x, position.y),
    );
    return [x, y];
  }

  /** Numbers [a, b, c, d, e, f] of the matrix from level-0 pixels to the element's. */
  get matrix() {
    const at = (x, y) =>
      this.osd.viewport.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y));
    const span = Math.max(this.info.width0, this.info.height0);
    const [origin, right, below] = [at(0, 0), at(span, 0), at(0, span)];
    return [
      (right.x - origin.x) / span,
      (right.y - origin.y) / span,
      (below.x - origin.x) / span,
      (below.y - origin.y) / span,
      origin.x,
      origin.y,
    ];
  }

  /** Waits until OpenSeadragon knows its size, which it learns a frame after it is seen. */
  #measured() {
    const { x, y } = this.osd.viewport.getContainerSize();
    const { clientWidth, clientHeight } = this.element;
    if (!clientWidth || (x === clientWidth && y === clientHeight)) return Promise.resolve();
    // It keeps its scale on being resized; only after that a view is its own.
    return new Promise((resolve) => this.osd.addOnceHandler("after-resize", () => resolve()));
  }

  #tell(name) {
    if (this.info) this.dispatchEvent(new Event(name));
  }
}
