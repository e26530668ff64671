import assert from "node:assert/strict";
import test from "node:test";

import { newDocument, settled } from "./fake_dom.js";
import { noticePlace } from "../src/notices.js";
import { Strip } from "../src/strip.js";

const A = { id: "a".repeat(32) };
const POLL_MS = 1500;

/** A strip whose server answers by `answer(path)`, the paths that it was asked for, and its root. */
function strip(t, answer) {
  const root = newDocument();
  noticePlace().replaceChildren();
  t.mock.timers.enable({ apis: ["setInterval"] });
  const asked = [];
  const ask = async (path) => {
    asked.push(path);
    return answer(path);
  };
  const made = new Strip({ list: ask, upload: ask, thumbnailUrl: () => "" });
  root.append(made.element);
  return { made, asked, root };
}

const slide = (number, state = "ready") => ({ id: String(number), name: `${number}.svs`, state });
const reading = (count) => Array.from({ length: count }, (_, number) => slide(number, "reading"));
const file = (name) => Object.assign(new Blob(), { name });

function fire(name, more = {}) {
  const event = Object.assign(new Event(name, { cancelable: true }), more);
  document.dispatchEvent(event);
  return event;
}

test("however many slides are read, two requests tell how far they are", async (t) => {
  const jobs = [
    { slide_id: "1", kind: "other", done: 9, total: 9 },
    { slide_id: "1", kind: "read", done: 1, total: 4 },
  ];
  const { made, asked } = strip(t, (path) => (path.endsWith("/jobs") ? jobs : reading(15)));
  await made.open(A);
  assert.equal(asked.length, 2);
  assert.match(made.list.children[1].textContent, /Reading 25 %/);
  assert.match(made.list.children[2].textContent, /Reading…/);
});

test("a list that comes late takes no later one's place", async (t) => {
  const answers = [];
  const { made } = strip(t, () => new Promise((resolve) => answers.push(resolve)));
  const first = made.open(A);
  answers.shift()([slide(1)]);
  await first;
  const [older, newer] = [made.reload(), made.reload()];
  answers[1]([slide(1), slide(2)]);
  await newer;
  answers[0]([slide(1)]);
  await older;
  assert.deepEqual(made.slides.map(({ id }) => id), ["1", "2"]);
});

test("polls don't pile up, and what is refused again and again is told once", async (t) => {
  let answer = () => reading(1);
  const { made, asked } = strip(t, (path) => answer(path));
  await made.open(A);
  const waiting = [];
  answer = () => new Promise((resolve, reject) => waiting.push(reject));
  asked.length = 0;
  t.mock.timers.tick(3 * POLL_MS);
  assert.equal(asked.length, 1);
  for (let round = 0; round < 3; round += 1) {
    waiting.pop()(Object.assign(new Error(`too often ${round}`), { status: 429 }));
    await settled();
    t.mock.timers.tick(POLL_MS);
  }
  assert.equal(asked.length, 4);
  assert.equal(noticePlace().children.length, 1);
});

test("a list that is refused keeps no file from being sent, and is asked for again", async (t) => {
  let refused = false;
  const { made, asked } = strip(t, (path) => {
    if (refused && path.startsWith("api")) throw Object.assign(new Error("no"), { status: 429 });
    return path.startsWith("api") ? [slide(asked.length)] : {};
  });
  await made.open(A);
  refused = true;
  await made.send([file("1.svs"), file("2.svs"), file("3.svs")]);
  assert.equal(asked.filter((path) => path.startsWith("cases/")).length, 3);
  assert.equal(made.sending.length, 0);
  refused = false;
  asked.length = 0;
  t.mock.timers.tick(POLL_MS);
  await settled();
  t.mock.timers.tick(POLL_MS);
  assert.equal(asked.length, 1);
});

test("a file's progress leaves everything else in its place", async (t) => {
  const answer = () => [slide(1), slide(2, "reading")];
  const { made } = strip(t, (path) => (path.endsWith("/jobs") ? [] : answer()));
  await made.open(A);
  let progress;
  made.server.upload = (path, form, show) => {
    progress = show;
    return new Promise(() => {});
  };
  made.send([file("1.svs"), file("2.svs")]);
  const entries = [...made.list.children];
  const moves = entries.map((node) => node.moves);
  progress(0.5);
  assert.match(entries[2].textContent, /Sending 50 %/);
  await made.reload();
  made.choose("2");
  assert.deepEqual(made.list.children, entries);
  assert.deepEqual(entries.map((node) => node.moves), moves);
});

test("a slide is edited as it stands by now, and only what was changed is sent", async (t) => {
  const { made, root } = strip(t, () => [slide(1)]);
  await made.open(A);
  const patched = [];
  const now = { ...slide(1), case_id: A.id, stain: "IHC", block: "A1", mpp: null, given_mpp: 0.5, mpp_source: "user" };
  made.server.get = async () => now;
  made.server.patch = async (path, changes) => patched.push(changes);
  made.list.querySelector('[aria-label="Stain and block"]').click();
  await settled();
  const dialog = root.querySelector("dialog");
  const [stain, block] = dialog.querySelectorAll("input");
  assert.deepEqual([stain.value, block.value], ["IHC", "A1"]);
  block.value = "B2";
  dialog.children[0].dispatchEvent(new Event("submit", { cancelable: true }));
  await settled();
  assert.deepEqual(patched, [{ block: "B2", seen: { block: "A1" } }]);
});

test("a slide whose reading failed says why and is read again", async (t) => {
  const error = "the model can't be loaded";
  const slides = [
    { ...slide(1, "new"), error, mpp: 0.5 },
    { ...slide(2, "new"), error: "no resolution", mpp: null },
    { ...slide(3, "new"), error: null, mpp: 0.5 },
  ];
  const { made } = strip(t, (path) => (path.endsWith("/jobs") ? [] : slides));
  await made.open(A);
  const [failed, ...waiting] = made.list.children;
  assert.match(failed.textContent, /reading failed/);
  assert.equal(failed.querySelector(".rc-slide").getAttribute("title"), error);
  for (const each of waiting) {
    assert.match(each.textContent, /not read yet/);
    assert.ok(!each.querySelector(".rc-slide-again"));
  }
  const posted = [];
  made.server.post = async (path) => {
    posted.push(path);
    slides[0] = { ...slides[0], state: "reading" };
  };
  failed.querySelector(".rc-slide-again").click();
  await settled();
  assert.deepEqual(posted, ["api/v1/slides/1/read"]);
  assert.match(made.list.children[0].textContent, /Reading…/);
});

test("files dropped where none are taken neither lead away nor are sent", async (t) => {
  const { made, root } = strip(t, () => []);
  const drop = () => {
    const dataTransfer = { types: ["Files"], files: [file("1.svs")] };
    const over = fire("dragover", { dataTransfer });
    return [over, fire("drop", { dataTransfer })].map((event) => event.defaultPrevented);
  };
  made.server.upload = () => new Promise(() => {});
  assert.deepEqual(drop(), [true, true]);
  await made.open(A);
  root.classList.add("rc-read-only");
  assert.deepEqual(drop(), [true, true]);
  assert.equal(made.sending.length, 0);
  assert.equal(fire("beforeunload").defaultPrevented, false);
  root.classList.remove("rc-read-only");
  assert.deepEqual(drop(), [true, true]);
  assert.equal(made.sending.length, 1);
  assert.equal(fire("beforeunload").defaultPrevented, true);
});
