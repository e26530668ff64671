import assert from "node:assert/strict";
import test from "node:test";

import { newDocument, settled } from "./fake_dom.js";
import { Findings } from "../src/findings.js";
import { setLanguage } from "../src/language.js";
import { noticePlace } from "../src/notices.js";
import { keysOf } from "../src/page_keys.js";

const A = { id: "a" };
const B = { id: "b" };

/** A server whose answers come when the test lets them. */
class Desk {
  constructor() {
    this.status = new Map([["f1", "proposed"], ["f2", "proposed"], ["f3", "proposed"]]);
    this.revisions = new Map();
    this.posts = [];
    this.refusal = null;
    this.held = null;
    this.findings = new Findings(this);
  }

  async list(path) {
    if (path.includes("/b/")) return new Promise(() => {});
    const geometry = { type: "Point", coordinates: [1, 1] };
    return [...this.status].map(([id, status]) => {
      const revision = this.revisions.get(id) ?? 1;
      return { origin: "model", geometry, id, status, revision, name: id };
    });
  }

  async post(path) {
    this.posts.push(path);
    if (this.refusal) throw this.refusal;
    await this.held;
    const [, id, step] = path.match(/findings\/(\w+)\/(\w+)/);
    return this.decide(id, { accept: "accepted", reject: "rejected", undo: "proposed" }[step]);
  }

  /** Somebody decides a finding. */
  decide(id, status) {
    const revision = (this.revisions.get(id) ?? 1) + 1;
    this.status.set(id, status);
    this.revisions.set(id, revision);
    return { id, status, revision };
  }
}

async function opened() {
  const desk = new Desk();
  await desk.findings.open(A);
  desk.findings.step(1);
  return desk;
}

test("until a slide's findings have come, there are none of the slide before", async () => {
  const { findings } = await opened();
  assert.equal(findings.findings.length, 3);
  const before = [];
  findings.addEventListener("changed", () => before.push(findings.findings.length));
  findings.open(B);
  assert.deepEqual(before, [0], "the page is told to take the outlines away");
  assert.equal(findings.list.children.length, 0, "nor is it said that the slide has none");
  assert.equal(findings.step(1), false);
  assert.equal(await findings.decide("accepted"), false);
});

test("a decision on its way is the only one", async () => {
  const desk = await opened();
  let letGo = null;
  desk.held = new Promise((resolve) => (letGo = resolve));
  const first = desk.findings.decide("accepted");
  await desk.findings.decide("accepted");
  await desk.findings.undo();
  letGo();
  await first;
  assert.deepEqual(desk.posts, ["api/v1/findings/f1/accept"]);
  assert.equal(desk.findings.index, 1, "the next one is looked at");
});

test("the focus goes along to the finding that is looked at next", async () => {
  const root = newDocument();
  const { findings } = await opened();
  root.append(findings.element);
  const [accept] = findings.list.querySelectorAll("[aria-pressed]");
  accept.focus();
  await findings.decide("accepted");
  assert.equal(findings.index, 1);
  assert.equal(document.activeElement, findings.list.children[1].querySelector(".rc-finding-name"));
});

test("a key that is held decides and undoes once", async () => {
  const desk = await opened();
  const page = { stage: { overlays: {} }, chat: { findings: desk.findings } };
  const run = (name, repeat) => keysOf(page).find(({ keys }) => keys.includes(name)).run(name, { repeat });
  for (const name of ["y", "x"]) run(name, true);
  await settled();
  assert.deepEqual(desk.posts, []);
  await run("y", false);
  run("u", true);
  assert.equal(desk.posts.length, 1);
});

test("a decision that couldn't be taken back can be taken back later", async () => {
  const desk = await opened();
  await desk.findings.decide("accepted");
  desk.refusal = Object.assign(new Error("offline"), { status: 503 });
  await desk.findings.undo();
  assert.equal(desk.status.get("f1"), "accepted");
  desk.refusal = null;
  await desk.findings.undo();
  assert.equal(desk.status.get("f1"), "proposed");
});

test("what somebody else has decided meanwhile isn't undone", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const desk = await opened();
  await desk.findings.decide("accepted");
  desk.refusal = Object.assign(new Error("changed"), { status: 409 });
  await desk.findings.undo();
  desk.refusal = null;
  assert.equal(await desk.findings.undo(), false);
  assert.equal(desk.status.get("f1"), "accepted");
});

test("what somebody else has decided stays, also where the list has shown it meanwhile", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  noticePlace().replaceChildren();
  const desk = await opened();
  await desk.findings.decide("accepted");
  desk.decide("f1", "rejected");
  await desk.findings.decide("accepted");
  desk.posts.length = 0;
  await desk.findings.undo();
  assert.equal(await desk.findings.undo(), true);
  assert.deepEqual(desk.posts, ["api/v1/findings/f2/undo"]);
  assert.equal(desk.status.get("f1"), "rejected");
  assert.match(noticePlace().textContent, /Somebody else decided/);
  assert.equal(await desk.findings.undo(), false);
});

test("decisions on one finding are taken back one after the other, as far as they are one's own", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const desk = await opened();
  const again = async (status) => {
    desk.findings.look(0);
    await desk.findings.decide(status);
  };
  await again("accepted");
  desk.decide("f1", "proposed");
  await desk.findings.reload();
  await again("accepted");
  await again("rejected");
  const seen = [];
  for (let step = 0; step < 3; step += 1) {
    await desk.findings.undo();
    seen.push(desk.status.get("f1"));
  }
  assert.deepEqual(seen, ["accepted", "proposed", "proposed"]);
  assert.equal(desk.revisions.get("f1"), 7, "nothing was sent for the first");
});

test("a file that isn't GeoJSON is refused in the page's own words", async () => {
  const { findings, posts } = await opened();
  findings.file.files = [{ text: async () => "<html>" }];
  setLanguage("zh");
  findings.file.dispatchEvent(new Event("change"));
  await settled();
  setLanguage("en");
  assert.match(noticePlace().textContent, /该文件不是 GeoJSON/);
  assert.deepEqual(posts, []);
});
