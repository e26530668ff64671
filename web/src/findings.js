// Findings of the slide in view: step through them, accept or reject each, take it back.

import { button, el, iconButton } from "./dom.js";
import { ICONS } from "./icons.js";
import { label, language, onLanguage, text } from "./language.js";
import { complain, notify } from "./notices.js";
import { TISSUES_ZH } from "./tissues.js";

const CONFLICT = 409;
const STEPS = { accepted: "accept", rejected: "reject", proposed: "undo" };

/** Fires "fly" {finding} when one is looked at and "changed" with the slide's findings. */
export class Findings extends EventTarget {
  constructor(server) {
    super();
    this.server = server;
    this.slide = null;
    this.findings = [];
    this.isLoaded = false;
    this.isSending = false;
    this.decided = [];
    this.index = -1;
    this.list = el("ol", { class: "rc-findings", aria: "findings", tabindex: "0" });
    this.count = el("span", { class: "rc-quiet" });
    this.file = el("input", {
      type: "file",
      accept: ".geojson,.json,application/geo+json",
      hidden: true,
      on: { change: () => this.#import() },
    });
    this.element = el(
      "section",
      { class: "rc-findings-panel", role: "tabpanel", hidden: true },
      el(
        "div",
        { class: "rc-findings-head" },
        this.count,
        el("span", { class: "rc-gap" }),
        iconButton(ICONS.up, "finding_previous", () => this.step(-1)),
        iconButton(ICONS.down, "finding_next", () => this.step(1)),
        iconButton(ICONS.undo, "finding_undo", () => this.undo()),
      ),
      this.list,
      el(
        "div",
        { class: "rc-findings-foot" },
        button("findings_import", () => this.file.click(), { class: "rc-button rc-changes" }),
        button("findings_export", () => this.#export()),
        this.file,
      ),
    );
    onLanguage(() => this.#draw());
  }

  /** Shows a slide's findings; until they have come none, and none of the slide before. */
  async open(slide) {
    this.slide = slide;
    this.findings = [];
    this.isLoaded = false;
    this.decided = [];
    this.index = -1;
    this.#draw();
    this.#tell("changed");
    await this.reload();
  }

  async reload() {
    const slideId = this.slide?.id;
    const findings = slideId ? await this.server.list(`api/v1/slides/${slideId}/findings`) : [];
    if (this.slide?.id !== slideId) return;
    this.findings = findings;
    this.isLoaded = true;
    this.index = Math.min(this.index, findings.length - 1);
    this.#draw();
    this.#tell("changed");
  }

  /** Looks at the finding after or before the one in view; false where there is none. */
  step(by) {
    if (!this.findings.length) return false;
    const count = this.findings.length;
    this.look(this.index < 0 ? (by > 0 ? 0 : count - 1) : (this.index + by + count) % count);
    return true;
  }

  /** Looks at one finding. */
  look(index) {
    this.index = index;
    this.#draw();
    this.list.children[index]?.scrollIntoView({ block: "nearest" });
    this.#tell("fly", { finding: this.findings[index] });
  }

  /** Looks at the finding of an id, as when its outline is clicked. */
  lookAt(id) {
    const index = this.findings.findIndex((finding) => finding.id === id);
    if (index >= 0) this.look(index);
  }

  /**
   * Accepts or rejects the finding in view and goes on to the next that is undecided; while a
   * decision is on its way there is none to make, for the next finding hasn't been seen.
   */
  async decide(status) {
    const finding = this.findings[this.index];
    if (!finding) return false;
    if (this.isSending) return true;
    const { decided } = this;
    const { id, status: before, revision: seen } = finding;
    const revision = await this.#set(finding, before === status ? "proposed" : status);
    if (revision) {
      decided.push({ id, status: before, seen, revision });
      if (decided !== this.decided) return true; // another slide is in view by now
      const next = this.findings.findIndex(({ status: left }) => left === "proposed");
      if (next >= 0) this.look(next);
    }
    return true;
  }

  /** Takes the last decision back. */
  async undo() {
    if (this.isSending) return true;
    const { decided } = this;
    const last = decided.at(-1);
    const index = this.findings.findIndex(({ id }) => id === last?.id);
    if (index < 0) {
      decided.pop();
      return false;
    }
    this.look(index);
    const finding = this.findings[index];
    if (finding.revision !== last.revision) {
      this.#othersDecided(finding);
      return true;
    }
    const revision = await this.#set(finding, last.status);
    if (!revision) return true;
    decided.pop();
    const before = decided.find(({ id, revision: made }) => id === last.id && made === last.seen);
    if (before) before.revision = revision; // it stands again as it was decided then
    return true;
  }

  /** Says so: undoing a decision of one's own would undo theirs. */
  #othersDecided({ id: changed }) {
    notify(text("finding_changed"));
    this.decided = this.decided.filter(({ id }) => id !== changed);
  }

  /** Sends a decision; gives the finding's revision that it made, null where it was refused. */
  async #set(finding, status) {
    this.isSending = true;
    try {
      const { id, revision } = finding;
      const path = `api/v1/findings/${id}/${STEPS[status]}`;
      const made = await this.server.post(path, { revision });
      await this.reload();
      return made.revision;
    } catch (error) {
      if (error.status === CONFLICT) {
        this.#othersDecided(finding);
        await this.reload().catch(complain);
      } else {
        complain(error);
      }
      return null;
    } finally {
      this.isSending = false;
    }
  }

  #draw() {
    const left = this.findings.filter(({ status }) => status === "proposed").length;
    label(this.count, "say", left ? ["findings_left", { count: left }] : "findings_done");
    this.count.hidden = !this.findings.length;
    const isFocused = [...this.list.children].some((entry) => entry.contains(document.activeElement));
    this.list.replaceChildren(...this.findings.map((finding, index) => this.#entry(finding, index)));
    if (this.isLoaded && !this.findings.length) {
      this.list.append(el("li", { class: "rc-hint", say: "findings_none" }));
    }
    // Its name, not what decides on it: Enter that is held decides once.
    if (isFocused) (this.list.children[this.index]?.querySelector("button") ?? this.list).focus();
  }

  #entry(finding, index) {
    const isChosen = index === this.index;
    const shows = classWords(finding.classification);
    return el(
      "li",
      { class: `rc-finding rc-${finding.status} ${isChosen ? "rc-chosen" : ""}` },
      el(
        "button",
        { type: "button", class: "rc-finding-name", on: { click: () => this.look(index) } },
        el("b", {}, finding.name || shows || "–"),
        el("span", { class: "rc-quiet" }, finding.name ? shows : ""),
        el("span", { class: "rc-state", say: `finding_${finding.status}` }),
        el("span", { class: `rc-origin rc-origin-${finding.origin}`, say: `finding_origin_${finding.origin}` }),
      ),
      isChosen
        ? el(
            "div",
            { class: "rc-decide" },
            button("finding_accept", () => this.decide("accepted"), {
              "aria-pressed": String(finding.status === "accepted"),
            }),
            button("finding_reject", () => this.decide("rejected"), {
              "aria-pressed": String(finding.status === "rejected"),
            }),
          )
        : null,
    );
  }

  async #import() {
    const [file] = this.file.files;
    this.file.value = "";
    if (!file || !this.slide) return;
    const path = `api/v1/slides/${this.slide.id}/findings.geojson`;
    try {
      await this.server.post(path, JSON.parse(await file.text()));
      await this.reload();
    } catch (error) {
      if (error instanceof SyntaxError) notify(text("findings_no_json"), { isError: true });
      else complain(error);
    }
  }

  #export() {
    if (!this.slide) return;
    const link = el("a", { href: this.server.url(`api/v1/slides/${this.slide.id}/findings.geojson`) });
    link.download = "findings.geojson";
    link.click();
  }

  #tell(name, detail = null) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** A class as the page says it; of others than ours as it was written. */
function classWords(classification) {
  return (language() === "zh" && TISSUES_ZH.get(classification)) || classification;
}
