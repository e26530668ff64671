// The page's parts and what passes between them.

import { Cases } from "./cases.js";
import { ChatPanel } from "./chat_panel.js";
import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { keyTable, listenToKeys } from "./keys.js";
import { label, language, onLanguage, setLanguage, text } from "./language.js";
import { citationMark, findingMark, nextRegionName, regionMark } from "./marks.js";
import { complain, isDialogChanged, noticePlace, notify, openDialog } from "./notices.js";
import { keysOf } from "./page_keys.js";
import { readPlace, writePlace } from "./place.js";
import { Server } from "./server.js";
import { Stage } from "./stage.js";
import { Strip } from "./strip.js";
import { showTheme, switchTheme } from "./theme.js";

/** How long a view stands still before the address remembers it: browsers refuse one each frame. */
const STILL_MS = 250;

/** Everything that is seen; started once. */
export class Page {
  constructor(root, bridge) {
    this.root = root;
    this.server = new Server();
    this.place = readPlace(location.hash);
    this.going = null;
    this.openings = 0;
    this.saving = 0;
    this.server.mayLeave = () => !this.#holdsWork();
    this.cases = new Cases(this.server);
    this.strip = new Strip(this.server);
    this.stage = new Stage(this.server, { showKeys: () => this.showKeys() });
    this.chat = new ChatPanel(this.server, bridge);
    this.keys = keysOf(this);
    this.note = el("span", { class: "rc-quiet rc-mode", say: "research" });
    this.languageButton = el("button", {
      type: "button",
      class: "rc-button",
      say: "other_language",
      name: "switch_language",
      on: { click: () => this.switchLanguage() },
    });
    this.outButton = iconButton(ICONS.out, "log_out", () => this.#logOut(), { hidden: true });
    this.top = el(
      "header",
      { class: "rc-top" },
      el("h1", {}, "RuiChat"),
      this.cases.element,
      this.cases.missing,
      el("span", { class: "rc-gap" }),
      this.note,
      this.languageButton,
      iconButton(ICONS.theme, "theme", switchTheme),
      this.outButton,
    );
    showTheme();
    root.replaceChildren(
      this.top,
      this.strip.element,
      this.stage.element,
      this.chat.element,
      noticePlace(),
    );
    this.#join();
  }

  /** Finds out who is here and shows what the address says. */
  async start() {
    this.chat.model.watch();
    await this.#begin();
  }

  async #begin() {
    try {
      const me = await this.server.me();
      this.chat.composer.setUser(me.id);
      setLanguage(me.language);
      const isSingle = me.means === "single";
      if (isSingle) label(this.note, "say", "single_user");
      this.root.classList.toggle("rc-single", isSingle);
      this.outButton.hidden = isSingle;
      this.root.classList.toggle("rc-read-only", !me.rights.includes("write"));
      await this.cases.load(this.place.case);
    } catch (error) {
      this.cases.element.hidden = true; // it would say that there is no case
      const again = () => this.#begin();
      this.stage.invite("start_failed", button("retry", again, { class: "rc-button rc-primary" }));
      complain(error);
    }
  }

  /** Shows a slide in the main pane, at a view or as a whole. */
  async showSlide(slide, view = null) {
    this.strip.choose(slide.id);
    this.place.slide = slide.id;
    this.place.view = view ?? undefined;
    this.#tellChat(slide);
    await this.stage.show(this.stage.main, slide, { view });
    if (this.place.slide !== slide.id) return; // another was chosen meanwhile
    this.#remember();
    await this.#drawMarks();
  }

  /** Shows a second slide beside the first, or takes it away. */
  async toggleBeside() {
    const { slides } = this.strip;
    const others = slides.filter(({ id, state }) => id !== this.place.slide && state !== "failed");
    if (!this.place.beside && !others.length) {
      notify(text("beside_needs_two"));
      return;
    }
    const now = slides.findIndex(({ id }) => id === this.place.slide);
    const next = others.find((slide) => slides.indexOf(slide) > now) ?? others[0];
    await this.#showBeside(this.place.beside ? null : next);
  }

  /** Switches the language; nothing else changes. */
  async switchLanguage() {
    const next = language() === "zh" ? "en" : "zh";
    setLanguage(next);
    try {
      await this.server.patch("api/v1/me", { language: next });
    } catch (error) {
      complain(error);
    }
  }

  /** The keys, as a dialog. */
  showKeys() {
    openDialog("keys", keyTable(this.keys));
  }

  /** Deletes the drawn region that is chosen on the active slide; false where none is. */
  deleteRegion() {
    const { marks, regions } = this.stage.active;
    const region = regions.find(({ id }) => id === marks.selected);
    if (!region) return false;
    const { composer } = this.chat;
    this.server
      .remove(`api/v1/regions/${region.id}`)
      .then(() => {
        if (composer.region?.id === region.id) composer.setRegion(null);
        return this.#drawMarks();
      })
      .catch(complain);
    return true;
  }

  #join() {
    this.cases.addEventListener("open", ({ detail }) => this.#openCase(detail.case).catch(complain));
    this.cases.addEventListener("changed", ({ detail }) => {
      this.#tellChat(this.chat.slide);
      this.chat.model.setContext(Boolean(detail.case.context.trim()));
    });
    this.strip.addEventListener("slide", ({ detail }) => {
      this.showSlide(detail.slide).catch(complain);
    });
    this.strip.addEventListener("changed", () => this.#slidesChanged().catch(complain));
    this.stage.addEventListener("rest", ({ detail }) => {
      if (detail.pane !== this.stage.main) return;
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.#remember(), STILL_MS);
    });
    this.stage.addEventListener("beside", () => this.toggleBeside().catch(complain));
    this.stage.addEventListener("region", ({ detail }) => this.#saveRegion(detail).catch(complain));
    this.stage.addEventListener("pick", ({ detail }) => this.#pick(detail));
    this.chat.addEventListener("fly", ({ detail }) => this.#fly(detail).catch(complain));
    this.chat.addEventListener("marks", () => this.#drawMarks(false).catch(complain));
    this.chat.addEventListener("chat", ({ detail }) => {
      this.place.chat = detail.id;
      this.#remember();
    });
    listenToKeys(this.keys, (held) => {
      for (const pane of this.stage.panes) pane.tools.borrow(held);
    });
    onLanguage(() => this.#drawMarks(false).catch(complain));
    addEventListener("beforeunload", (event) => {
      // The browser asks first; Gradio reloads the page by itself after a lost connection.
      if (this.#holdsWork()) event.preventDefault();
    });
    addEventListener("hashchange", ({ newURL }) => {
      // The page may have written its own place over the address before this is heard.
      this.#goTo(readPlace(new URL(newURL).hash)).catch(complain);
    });
  }

  /** Goes to a place of the address, as a bookmark in the open page gives it. */
  async #goTo(place) {
    if (!place.case) return;
    this.going = place;
    await this.cases.load(place.case);
  }

  /** Opens a case, unless another is opened meanwhile; what can't be opened shows nothing. */
  async #openCase(whole) {
    const number = ++this.openings;
    const isNow = () => number === this.openings;
    this.opening = true;
    this.cases.element.hidden = false;
    try {
      await this.#fillCase(whole, isNow);
    } catch (error) {
      if (!isNow()) return;
      this.#empty();
      const again = () => this.#openCase(whole).catch(complain);
      this.stage.invite("case_failed", button("retry", again, { class: "rc-button rc-primary" }));
      throw error;
    } finally {
      if (isNow()) this.opening = false;
    }
  }

  /** Every part shows the same case, or none: under its title nothing of another may stand. */
  async #fillCase(whole, isNow) {
    // The case of a bookmark may be gone: then the one that was open is opened again.
    const places = [this.going, this.place, { case: whole?.id }];
    this.going = null;
    this.place = places.find((place) => place && place.case === whole?.id);
    const wanted = { ...this.place };
    this.#empty();
    this.#remember();
    await this.strip.open(whole);
    if (!isNow()) return;
    await this.chat.openCase(whole, wanted.chat);
    if (!isNow()) return;
    const { slides } = this.strip;
    const find = (slideId) => slides.find(({ id }) => id === slideId);
    const slide = find(wanted.slide);
    if (!slides.length) {
      this.#showNone(whole);
      return;
    }
    await this.showSlide(slide ?? slides[0], slide ? wanted.view : null);
    if (!isNow()) return;
    const beside = find(this.place.beside); // it may have been chosen or taken away meanwhile
    this.place.beside = beside?.id;
    if (beside) await this.#showBeside(beside);
  }

  #empty() {
    this.strip.clear();
    this.stage.clear("case_opening");
    this.chat.clear();
    this.#tellChat(null);
  }

  #showNone(whole) {
    this.place.slide = this.place.beside = this.place.view = undefined;
    const choice = button("new_case", () => this.cases.create(), {
      class: "rc-button rc-primary rc-changes",
    });
    if (whole) this.stage.clear("viewer_empty");
    else this.stage.invite("begin", choice);
    this.#tellChat(null);
    this.#remember();
  }

  /** Tells the chat which slide is in view; a region of the slide beside it may be asked about. */
  #tellChat(slide) {
    const { slides } = this.strip;
    const shown = [slide?.id, this.stage.beside.slide?.id];
    const now = slides.find(({ id }) => id === slide?.id) ?? null;
    this.chat.setSlide(now, slides, this.cases.current?.organ, shown);
  }

  async #slidesChanged() {
    if (this.opening) return;
    const { slides } = this.strip;
    const { main, beside } = this.stage;
    const rowOf = (slide) => slides.find(({ id }) => id === slide?.id);
    const second = beside.slide ?? beside.unshown;
    if (second && !rowOf(second)) await this.#showBeside(null);
    else if (isNewer(rowOf(beside.unshown), beside.unshown)) await this.#showBeside(rowOf(second));
    const first = main.slide ?? main.unshown;
    const now = rowOf(first);
    if (isNewer(rowOf(main.unshown), main.unshown)) {
      await this.showSlide(now, this.place.view);
    } else if (now) {
      for (const pane of this.stage.panes) {
        if (rowOf(pane.slide)) this.stage.update(pane, rowOf(pane.slide));
      }
      // Another slide may be on its way here, and is asked about already.
      this.#tellChat(rowOf(this.chat.slide) ?? now);
    } else if (first && !slides.length) {
      this.#showNone(this.cases.current);
    } else if (slides.length && (first || (this.place.case && !this.place.slide))) {
      await this.showSlide(slides[0]);
    }
  }

  async #showBeside(slide) {
    this.place.beside = slide?.id;
    await this.stage.showBeside(slide);
    this.#tellChat(this.chat.slide);
    this.#remember();
    await this.#drawMarks();
  }

  async #saveRegion({ pane, slide, shape, points }) {
    const { mpp } = pane.view;
    const path = `api/v1/slides/${slide.id}/regions`;
    let region;
    this.saving += 1;
    try {
      const name = nextRegionName(await this.server.list(path));
      region = await this.server.post(path, { name, shape, points });
    } catch (error) {
      this.#giveBack(pane, slide, points);
      throw error;
    } finally {
      this.saving -= 1;
    }
    notify(text("region_saved"));
    await this.#drawMarks();
    if (pane.slide?.id === slide.id) this.#askAbout(pane, { ...region, slide, mpp });
  }

  /** Gives an outline back that couldn't be saved, unless something else is drawn or shown by now. */
  #giveBack(pane, slide, points) {
    const isDrawing = this.stage.panes.some(({ tools }) => tools.points.length);
    if (pane.slide?.id !== slide.id || !pane.view.info || isDrawing) return;
    this.stage.take("polygon");
    this.stage.active = pane;
    pane.tools.giveBack(points);
    notify(text("region_kept"));
  }

  /** Whether something was typed or drawn that isn't saved; a question is kept by its field. */
  #holdsWork() {
    const isDrawing = this.saving || this.stage.panes.some(({ tools }) => tools.points.length);
    return Boolean(isDrawing || isDialogChanged());
  }

  /** @param region with its slide and that slide's mpp. */
  #askAbout(pane, region) {
    pane.marks.select(region.id);
    this.chat.composer.setRegion(region);
    this.chat.show("chat");
    this.chat.composer.focus();
  }

  #pick({ pane, mark }) {
    pane.marks.select(mark?.id ?? null);
    if (!mark) return;
    const { region } = mark.of;
    if (region) this.#askAbout(pane, { ...region, slide: pane.slide, mpp: pane.view.mpp });
    if (mark.of.finding) {
      this.chat.show("findings");
      this.chat.findings.lookAt(mark.of.finding.id);
    }
  }

  async #fly({ slideId, box0, mark }) {
    if (!this.stage.paneOf(slideId)) {
      const slide = this.strip.slides.find(({ id }) => id === slideId);
      if (!slide) {
        notify(text("slide_gone"));
        return;
      }
      await this.showSlide(slide);
    }
    const pane = this.stage.paneOf(slideId);
    if (!pane?.view.info) return; // it can't be shown, or another was chosen meanwhile
    pane.marks.select(mark);
    pane.view.flyTo(box0);
  }

  async #drawMarks(reload = true) {
    for (const pane of this.stage.panes) {
      const id = pane.slide?.id;
      if (!id) continue;
      if (reload) {
        const regions = await this.server.list(`api/v1/slides/${id}/regions`);
        if (pane.slide?.id !== id) continue;
        pane.regions = regions;
        pane.marks.set("regions", regions.map(regionMark));
      }
      pane.marks.set("citations", this.chat.citationsOn(id).map(citationMark));
      pane.marks.set("findings", this.chat.findingsOn(id).map(findingMark));
    }
  }

  #remember() {
    const { slide, view } = this.stage.main;
    if (view.info && slide.id === this.place.slide) this.place.view = view.view;
    const fragment = writePlace(this.place);
    history.replaceState(null, "", `${location.pathname}${location.search}#${fragment}`);
  }

  async #logOut() {
    if (this.#holdsWork() && !confirm(text("log_out_sure"))) return;
    try {
      await this.server.post("logout");
      this.chat.composer.forgetDrafts();
      for (const { tools } of this.stage.panes) tools.drop(); // it is given up: nobody asks again
      location.assign(this.server.url("login"));
    } catch (error) {
      complain(error);
    }
  }
}

/** Whether a slide that couldn't be shown has become another, so that it may be shown now. */
function isNewer(now, before) {
  const fields = ["state", "error", "mpp", "given_mpp"];
  return Boolean(now && before) && fields.some((field) => now[field] !== before[field]);
}
