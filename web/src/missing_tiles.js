// Tiles that didn't come: asked for again by itself some times, then when somebody wants it.

/** Waits before a tile is asked for again, milliseconds. */
const WAITS_MS = [1000, 3000, 9000];

/** Tiles in view fail together, and are told of together after this time, milliseconds. */
const TOGETHER_MS = 500;

/**
 * Listens to OpenSeadragon viewers; fires "missing" when tiles are given up.
 *
 * Their own `tileRetryMax` won't do: a tile that it brings late isn't drawn before the view moves.
 */
export class MissingTiles extends EventTarget {
  constructor(viewers) {
    super();
    this.tries = new WeakMap();
    this.missing = [];
    this.telling = null;
    for (const viewer of viewers) {
      viewer.addHandler("tile-load-failed", ({ tiledImage, tile }) => {
        this.#failed(() => viewer.world.getIndexOfItem(tiledImage) >= 0, tiledImage, tile);
      });
    }
  }

  /** Asks once more for what was given up. */
  load() {
    for (const again of this.missing.splice(0)) again();
  }

  #failed(isShown, tiledImage, tile) {
    if (!isShown()) return;
    const again = () => {
      if (!isShown()) return; // another slide is, by now
      tile.exists = true; // false where it failed, for ever
      tiledImage.update(true);
    };
    const tries = this.tries.get(tile) ?? 0;
    this.tries.set(tile, tries + 1);
    if (tries < WAITS_MS.length) {
      setTimeout(again, WAITS_MS[tries]);
      return;
    }
    this.missing.push(again);
    clearTimeout(this.telling);
    this.telling = setTimeout(() => isShown() && this.dispatchEvent(new Event("missing")), TOGETHER_MS);
  }
}
