// The page's parts and what passes between them.

import { Cases } from "./cases.js";
import { ChatPanel } from "./chat_panel.js";
import { el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { keyTable, listenToKeys } from "./keys.js";
import { label, language, onLanguage, setLanguage, text } from "./language.js";
import { isLine, ringsOf } from "./measure.js";
import { complain, noticePlace, notify, openDialog } from "./notices.js";
import { keysOf } from "./page_keys.js";
import { readPlace, writePlace } from "./place.js";
import { Server } from "./server.js";
import { Stage } from "./stage.js";
import { Strip } from "./strip.js";

const THEME = "ruichat-theme";

/** Everything that is seen; started once. */
export class Page {
  constructor(root, bridge) {
    this.root = root;
    this.server = new Server();
    this.place = readPlace(location.hash);
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
      iconButton(ICONS.theme, "theme", () => this.#switchTheme()),
      this.outButton,
    );
    document.documentElement.dataset.theme = localStorage.getItem(THEME) ?? "";
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
    try {
      const me = await this.server.me();
      setLanguage(me.language);
      const isSingle = me.means === "single";
      if (isSingle) label(this.note, "say", "single_user");
      this.outButton.hidden = isSingle;
      this.root.classList.toggle("rc-read-only", !me.rights.includes("write"));
      await this.cases.load(this.place.case);
      this.chat.model.watch();
    } catch (error) {
      complain(error);
    }
  }

  /** Shows a slide in the main pane, at a view or as a whole. */
  async showSlide(slide, view = null) {
    this.strip.choose(slide.id);
    this.place.slide = slide.id;
    this.chat.setSlide(slide, this.strip.slides, this.cases.current?.organ);
    await this.stage.show(this.stage.main, slide, { view });
    this.#remember();
    await this.#drawMarks();
  }

  /** Shows a second slide beside the first, or takes it away. */
  async toggleBeside() {
    const others = this.strip.slides.filter(
      ({ id, state }) => id !== this.place.slide && state !== "failed",
    );
    if (!this.place.beside && !others.length) {
      notify(text("beside_needs_two"));
      return;
    }
    const after = this.strip.slides.findIndex(({ id }) => id === this.place.slide);
    const next = others.find(({ letter }) => letter > this.strip.slides[after]?.letter) ?? others[0];
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

  /** Deletes the drawn region that is chosen; false where none is. */
  deleteRegion() {
    const chosen = this.stage.main.marks.selected;
    const region = this.regions?.find(({ id }) => id === chosen);
    if (!region) return false;
    this.server
      .remove(`api/v1/regions/${region.id}`)
      .then(() => {
        this.chat.composer.setRegion(null);
        return this.#drawMarks();
      })
      .catch(complain);
    return true;
  }

  #join() {
    this.cases.addEventListener("open", ({ detail }) => this.#openCase(detail.case).catch(complain));
    this.cases.addEventListener("changed", ({ detail }) => {
      this.chat.setSlide(this.stage.main.slide, this.strip.slides, detail.case.organ);
      this.chat.model.setContext(Boolean(detail.case.context.trim()));
    });
    this.strip.addEventListener("slide", ({ detail }) => {
      this.showSlide(detail.slide).catch(complain);
    });
    this.strip.addEventListener("changed", () => this.#slidesChanged().catch(complain));
    this.stage.addEventListener("rest", ({ detail }) => {
      if (detail.pane === this.stage.main) this.#remember();
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
  }

  async #openCase(whole) {
    this.opening = true;
    try {
      await this.#fillCase(whole);
    } finally {
      this.opening = false;
    }
  }

  async #fillCase(whole) {
    const isSame = whole?.id === this.place.case;
    if (!isSame) this.place = { case: whole?.id };
    this.place.case = whole?.id;
    await this.#showBeside(null, { forget: false });
    await this.strip.open(whole);
    await this.chat.openCase(whole, this.place.chat);
    if (this.place.case !== whole?.id) return; // another was opened meanwhile
    const { slides } = this.strip;
    const slide = slides.find(({ id }) => id === this.place.slide) ?? slides[0];
    if (!slide) {
      this.place.slide = undefined;
      if (whole) this.stage.main.fail(text("viewer_empty"));
      else this.stage.main.invite("begin", "new_case", () => this.cases.create());
      this.chat.setSlide(null, slides, whole?.organ);
      this.#remember();
      return;
    }
    await this.showSlide(slide, slide.id === this.place.slide ? this.place.view : null);
    const beside = slides.find(({ id }) => id === this.place.beside);
    if (beside) await this.#showBeside(beside);
  }

  async #slidesChanged() {
    if (this.opening) return;
    const { slides } = this.strip;
    const shown = slides.find(({ id }) => id === this.stage.main.slide?.id);
    if (!shown) {
      if (this.stage.main.slide && slides.length) await this.showSlide(slides[0]);
      else if (this.stage.main.slide) this.stage.main.fail(text("viewer_empty"));
      else if (slides.length && this.place.case && !this.place.slide) await this.showSlide(slides[0]);
      return;
    }
    this.chat.setSlide(shown, slides, this.cases.current?.organ);
    if (shown.state !== this.stage.main.slide.state) await this.stage.refresh(this.stage.main, shown);
  }

  async #showBeside(slide, { forget = true } = {}) {
    if (slide || forget) this.place.beside = slide?.id;
    await this.stage.showBeside(slide);
    this.#remember();
    await this.#drawMarks();
  }

  async #saveRegion({ pane, slide, shape, points }) {
    const count = (this.regions ?? []).length + 1;
    const region = await this.server.post(`api/v1/slides/${slide.id}/regions`, {
      name: `${text("region")} ${count}`,
      shape,
      points,
    });
    notify(text("region_saved"));
    await this.#drawMarks();
    this.#askAbout(pane, region);
  }

  #askAbout(pane, region) {
    pane.marks.select(region.id);
    this.chat.composer.setRegion({ ...region, slide: pane.slide, mpp: pane.view.mpp });
    this.chat.show("chat");
    this.chat.composer.focus();
  }

  #pick({ pane, mark }) {
    pane.marks.select(mark?.id ?? null);
    if (!mark) return;
    if (mark.of.region) this.#askAbout(pane, mark.of.region);
    if (mark.of.finding) {
      this.chat.show("findings");
      this.chat.findings.lookAt(mark.of.finding.id);
    }
  }

  async #fly({ slideId, box0, mark }) {
    let pane = this.stage.paneOf(slideId);
    if (!pane) {
      const slide = this.strip.slides.find(({ id }) => id === slideId);
      if (!slide) return;
      await this.showSlide(slide);
      pane = this.stage.main;
    }
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
        if (pane === this.stage.main) this.regions = regions;
        pane.marks.set("regions", regions.map(regionMark));
      }
      pane.marks.set("citations", this.chat.citationsOn(id).map(citationMark));
      pane.marks.set("findings", this.chat.findingsOn(id).map(findingMark));
    }
  }

  #remember() {
    if (this.stage.main.view.info) this.place.view = this.stage.main.view.view;
    const fragment = writePlace(this.place);
    history.replaceState(null, "", `${location.pathname}${location.search}#${fragment}`);
  }

  #switchTheme() {
    const root = document.documentElement;
    const isDark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = isDark ? "light" : "dark";
    localStorage.setItem(THEME, root.dataset.theme);
  }

  async #logOut() {
    try {
      await this.server.post("logout");
      location.assign(this.server.url("login"));
    } catch (error) {
      complain(error);
    }
  }
}

function regionMark(region) {
  return { id: region.id, rings: [region.points], name: region.name, style: "rc-region", of: { region } };
}

function citationMark(citation) {
  const { x, y, width, height } = citation.box0;
  const ring = [
    [x, y],
    [x + width, y],
    [x + width, y + height],
    [x, y + height],
  ];
  return {
    id: citation.mark,
    rings: [ring],
    name: citation.name,
    color: citation.color,
    style: "rc-citation",
    of: { citation },
  };
}

function findingMark(finding) {
  return {
    id: finding.id,
    rings: ringsOf(finding.geometry),
    open: isLine(finding.geometry),
    name: finding.name,
    style: `rc-finding-${finding.status}`,
    of: { finding },
  };
}
