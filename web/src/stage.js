// The middle of the page: one slide or two, with a toolbar.

import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { text } from "./language.js";
import { complain, notify } from "./notices.js";
import { OverlayMenu } from "./overlay_menu.js";
import { Pair } from "./pair.js";
import { Pane } from "./pane.js";
import { TOOLS } from "./tools.js";

const TURN = 90;

/**
 * Holds the panes; fires "region" with {slide, shape, points} when one is drawn, "pick" with
 * {mark}, "rest" when the view stands still, and "beside" when a second slide is wanted or not.
 */
export class Stage extends EventTarget {
  /** @param {import("./server.js").Server} server gives tiles, infos and overlays. */
  constructor(server, { showKeys }) {
    super();
    this.server = server;
    this.main = new Pane();
    this.beside = new Pane();
    this.active = this.main;
    this.inStep = false;
    this.pair = new Pair(this.main.view, this.beside.view);
    this.overlays = new OverlayMenu(this.panes);
    this.toolButtons = TOOLS.map((tool) =>
      iconButton(ICONS[tool], `tool_${tool}`, () => this.take(tool), { "data-tool": tool }),
    );
    this.besideButton = iconButton(ICONS.beside, "side_by_side", () => this.#tell("beside"));
    this.lockButton = iconButton(ICONS.lock, "in_step", () => this.toggleStep());
    this.toolbar = el(
      "div",
      { class: "rc-toolbar", role: "toolbar", "aria-orientation": "vertical" },
      this.toolButtons,
      el("hr"),
      iconButton(ICONS.fit, "fit", () => this.active.view.fit()),
      iconButton(ICONS.rotate, "rotate", () => this.turn(TURN)),
      this.overlays.button,
      this.besideButton,
      this.lockButton,
      el("hr"),
      iconButton(ICONS.help, "help", showKeys),
    );
    this.beside.element.hidden = this.lockButton.hidden = true;
    this.element = el(
      "main",
      { class: "rc-stage" },
      this.main.element,
      this.beside.element,
      this.toolbar,
      this.overlays.element,
    );
    for (const pane of this.panes) this.#watch(pane);
    this.take("move");
  }

  get panes() {
    return [this.main, this.beside];
  }

  /** Shows a slide in a pane. */
  async show(pane, slide, { view = null } = {}) {
    const started = (pane.wanted = {});
    this.#lock(false);
    this.overlays.load(pane, {});
    try {
      const info = await this.server.slideInfo(slide.id);
      if (pane.wanted !== started) return;
      if (info.tile_px === null) {
        if (info.needs_mpp) pane.fail("no_mpp", { slide });
        else pane.fail("viewer_failed", { detail: info.error, slide });
        return;
      }
      await pane.open(slide, info, this.server.tileUrl, view);
    } catch (error) {
      if (pane.wanted === started) pane.fail("viewer_failed", { detail: error.message, slide });
      return;
    }
    if (pane.wanted !== started) return;
    this.#lock(this.inStep);
    this.#loadOverlays(pane, slide);
  }

  /** Takes a slide's newer words and state, which may have brought overlays; the view stays. */
  update(pane, slide) {
    const isOther = slide.state !== pane.slide.state;
    pane.describe(slide);
    if (isOther && pane.view.info) this.#loadOverlays(pane, slide);
  }

  /** Shows no slide, and says why. */
  clear(say) {
    this.showBeside(null);
    this.overlays.load(this.main, {});
    this.main.fail(say);
  }

  /** Shows no slide, but what to do first. */
  invite(say, choice) {
    this.clear(say);
    this.main.invite(say, choice);
  }

  /** Shows a second slide, or takes it away with null. */
  async showBeside(slide) {
    this.beside.element.hidden = this.lockButton.hidden = slide === null;
    this.besideButton.setAttribute("aria-pressed", String(slide !== null));
    if (slide === null) {
      this.#lock((this.inStep = false));
      this.beside.close();
      this.overlays.load(this.beside, {});
      this.active = this.main;
      return;
    }
    await this.show(this.beside, slide);
    if (this.beside.slide?.id !== slide.id) return; // taken away or replaced meanwhile
    if (!this.beside.view.info || !this.main.view.info) return;
    this.beside.view.setView(sameSpot(this.main.view, this.beside.view), { still: true });
    this.#lock((this.inStep = true));
  }

  /** Locks the two slides as they lie, or frees them. */
  toggleStep() {
    if (this.beside.element.hidden) return false;
    this.#lock((this.inStep = !this.pair.locked));
    notify(text(this.pair.locked ? "in_step_on" : "in_step_off"));
    return true;
  }

  /** Takes a tool in both panes. */
  take(tool) {
    for (const pane of this.panes) pane.tools.take(tool);
  }

  /** Turns the active slide. */
  turn(degrees) {
    this.active.view.rotateBy(degrees);
  }

  /** The pane that shows a slide, or null. */
  paneOf(slideId) {
    return this.panes.find((pane) => pane.slide?.id === slideId) ?? null;
  }

  /** A slide is shown also where its overlays can't be made; they may come late. */
  async #loadOverlays(pane, slide) {
    const isShown = () => pane.slide?.id === slide.id;
    try {
      const masks = await this.server.overlays(slide.id);
      if (isShown()) this.overlays.load(pane, masks);
    } catch (error) {
      if (!isShown()) return;
      this.overlays.load(pane, {});
      complain(error);
    }
  }

  /** Says that a slide isn't all there; where the login has ended, asking who is here tells it. */
  #tellMissing() {
    this.server.me().catch(complain);
    const load = async () => {
      await this.server.me();
      for (const pane of this.panes) pane.view.tiles.load();
      again.closest(".rc-notice").remove();
    };
    const again = button("retry", () => load().catch(complain), { class: "rc-button rc-small" });
    notify(text("tiles_missing"), { isError: true, hint: again });
  }

  #lock(locked) {
    this.pair.lock(locked);
    this.lockButton.setAttribute("aria-pressed", String(this.pair.locked));
  }

  #watch(pane) {
    pane.element.addEventListener("pointerdown", () => (this.active = pane));
    pane.element.addEventListener("focusin", () => (this.active = pane));
    pane.view.tiles.addEventListener("missing", () => this.#tellMissing());
    pane.view.addEventListener("rest", () => this.#tell("rest", { pane }));
    pane.tools.addEventListener("pick", ({ detail }) => this.#tell("pick", { pane, ...detail }));
    pane.tools.addEventListener("region", ({ detail }) => {
      this.take("move");
      this.#tell("region", { pane, slide: pane.slide, ...detail });
    });
    pane.tools.addEventListener("tool", () => {
      for (const each of this.toolButtons) {
        const isTaken = each.dataset.tool === (pane.tools.borrowed ?? pane.tools.tool);
        each.setAttribute("aria-pressed", String(isTaken));
      }
    });
  }

  #tell(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** The view of another slide that lies as far from the corner, as for sections of one block. */
function sameSpot(from, to) {
  const { x, y, umPerPx, rotation } = from.view;
  const scale = from.mpp / to.mpp;
  return { x: x * scale, y: y * scale, umPerPx, rotation };
}
