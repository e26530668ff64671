import assert from "node:assert/strict";
import test, { beforeEach, mock } from "node:test";

import { newDocument, settled } from "./fake_dom.js";
import { Bridge } from "../src/bridge.js";
import { ChatPanel } from "../src/chat_panel.js";
import { noticePlace } from "../src/notices.js";

const SLIDE = { id: "a", letter: "A" };
const QUESTION = { id: "q", role: "user", text: "Is there tumour?" };
const WORDS = { id: "running", role: "assistant", state: "running", text: "Yes", answer: null };
const ANSWER = { ...WORDS, id: "m", state: "complete" };

/** A case with one chat of one's own and one of a colleague's, and Python as the test plays it. */
class Desk {
  constructor() {
    this.userId = "ada";
    this.said = [];
    this.refusal = null;
    this.kept = [];
    const bridge = new Bridge();
    this.panel = new ChatPanel(this, bridge);
    const component = {
      props: {},
      watch: (_, told) => (this.told = told),
      trigger: (name, data) => this.said.push([name, data]),
    };
    bridge.connect(component);
    this.props = component.props;
  }

  async list(path) {
    if (path.includes("findings")) return [];
    const created_at = "2026-01-01T00:00:00Z";
    return ["hers", "mine"].map((id) => ({
      id,
      user_id: id === "mine" ? "ada" : "bo",
      title: id,
      created_at,
    }));
  }

  async me() {
    if (this.refusal) throw this.refusal;
    return {};
  }

  async post(path) {
    this.kept.push(path);
    return { added: this.kept.length === 1 ? 2 : 0, gone: this.gone ?? 0 };
  }

  /** Asks and returns the question's number. */
  ask(words = QUESTION.text) {
    this.panel.composer.input.value = words;
    this.panel.composer.sendButton.click();
    return this.said.findLast(([name]) => name === "submit")[1].question;
  }

  /** Python tells of a chat. */
  tell(chat_id, more = {}) {
    const created_at = "2026-01-01T00:00:00Z";
    const chat = { chat_id, case_id: "case", created_at, running: true, progress: null };
    this.props.chat = { ...chat, messages: [QUESTION, WORDS], ...more };
    this.told();
  }

  refuse(chat_id, question) {
    const error = { message: "too many wait", hint: "", status: 503 };
    this.tell(chat_id, { case_id: null, messages: [], running: false, is_error: true, error, question });
  }

  get state() {
    const { chatId, composer, kept } = this.panel;
    return [chatId, composer.running, kept.messages.length];
  }
}

async function opened(chatId = null) {
  noticePlace().replaceChildren();
  const desk = new Desk();
  await desk.panel.openCase({ id: "case", context: "" }, chatId ?? undefined);
  desk.panel.setSlide(SLIDE, [SLIDE], null, ["a"]);
  desk.panel.open(chatId);
  return desk;
}

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
});

test("a chat that was left while its first answer is written doesn't come back by itself", async () => {
  const desk = await opened();
  const question = desk.ask();
  desk.tell("new", { question, is_new: true });
  assert.deepEqual(desk.state, ["new", true, 2]);
  desk.panel.open(null);
  desk.tell("new", { question, is_new: true });
  assert.deepEqual(desk.state, [null, false, 0]);
  assert.deepEqual(desk.panel.chats.map(({ id }) => id), ["new", "mine", "hers"]);
});

test("a chat that was left before it was there is listed, and isn't taken for the next one", async () => {
  const desk = await opened();
  const first = desk.ask("First?");
  desk.panel.open(null);
  const second = desk.ask("Second?");
  desk.tell("one", { question: first, is_new: true });
  assert.deepEqual(desk.state, [null, true, 0]);
  assert.match(desk.panel.messages.element.textContent, /Second\?/);
  desk.tell("two", { question: second, is_new: true });
  assert.equal(desk.panel.chatId, "two");
  assert.deepEqual(desk.panel.chats.slice(0, 2).map(({ id }) => id), ["two", "one"]);
});

test("a question that was stopped at once is stopped though one has gone elsewhere", async () => {
  const desk = await opened();
  const question = desk.ask();
  desk.panel.stop();
  desk.panel.open("mine");
  desk.tell("new", { question, is_new: true });
  assert.deepEqual(desk.said.at(-1), ["clear", { chat_id: "new" }]);
});

test("whoever has left an answer isn't told that none came", async () => {
  const desk = await opened();
  const question = desk.ask();
  desk.tell("new", { question, is_new: true });
  desk.panel.open(null);
  desk.tell("new", { question, is_new: true });
  mock.timers.tick(60_000);
  await settled();
  assert.equal(noticePlace().textContent, "");
  desk.ask("And this?");
  mock.timers.tick(60_000);
  await settled();
  assert.match(noticePlace().textContent, /got no reply/);
});

test("a refused question is given back wherever one is by then", async () => {
  const desk = await opened("mine");
  const question = desk.ask("Is it invasive?");
  desk.panel.open(null);
  assert.equal(desk.panel.composer.input.value, "");
  desk.refuse("mine", question);
  assert.equal(desk.panel.composer.input.value, "Is it invasive?");
});

test("a look that fails gives no question back", async () => {
  const desk = await opened("mine");
  const question = desk.ask("Is it invasive?");
  desk.refuse("mine", undefined);
  assert.deepEqual([desk.panel.composer.input.value, desk.panel.composer.running], ["", true]);
  desk.tell("mine", { question, running: false, messages: [QUESTION, ANSWER] });
  assert.deepEqual(desk.state, ["mine", false, 2]);
});

test("a chat that doesn't come isn't shown as empty, and it is told why", async () => {
  const desk = await opened("mine");
  const { empty, composer } = desk.panel;
  assert.deepEqual([empty.hidden, composer.suggestions.children.length], [true, 0]);
  desk.tell("mine", { running: false, messages: [] });
  assert.ok(!empty.hidden);
  mock.timers.tick(60_000);
  await settled();
  assert.equal(noticePlace().textContent, "");
  desk.refusal = Object.assign(new Error("Your login has ended"), { status: 401 });
  desk.panel.open("hers");
  await settled();
  assert.match(noticePlace().textContent, /Your login has ended/);
  desk.refusal = null;
  mock.timers.tick(20_000);
  await settled();
  assert.match(noticePlace().textContent, /got no reply.*reload the page/);
  assert.ok(empty.hidden);
  desk.panel.open(null);
  assert.ok(!empty.hidden);
});

test("a look that was refused is told once", async () => {
  const desk = await opened("mine");
  desk.refuse("mine", undefined);
  mock.timers.tick(60_000);
  await settled();
  assert.equal(noticePlace().textContent, "too many wait");
});

test("while Gradio loads, time doesn't run for what it is to bring", async () => {
  const bridge = new Bridge();
  let silences = 0;
  bridge.addEventListener("silent", () => (silences += 1));
  bridge.look("mine");
  mock.timers.tick(15_000);
  bridge.connect({ props: {}, watch: () => {}, trigger: () => {} });
  mock.timers.tick(15_000);
  assert.equal(silences, 0);
  mock.timers.tick(5_000);
  assert.equal(silences, 1);
});

test("what was told of a chat before a question came doesn't hide it", async () => {
  const desk = await opened("mine");
  desk.tell("mine", { running: false, messages: [QUESTION, ANSWER] });
  desk.ask("And where?");
  desk.tell("mine", { running: false, messages: [QUESTION, ANSWER] });
  assert.match(desk.panel.messages.element.textContent, /And where\?/);
  assert.ok(desk.panel.composer.running);
});

test("a colleague's answer that is being written offers nothing to stop", async () => {
  const desk = await opened("hers");
  desk.tell("hers");
  assert.ok(!desk.panel.composer.running);
  assert.match(desk.panel.messages.element.textContent, /Yes/);
});

test("regions are kept once, however often that is pressed", async () => {
  const desk = await opened("mine");
  const keep = () => {
    desk.panel.messages.dispatchEvent(new CustomEvent("keep", { detail: { message: ANSWER } }));
  };
  keep();
  keep();
  await settled();
  assert.equal(desk.kept.length, 1);
  keep();
  await settled();
  assert.match(noticePlace().textContent, /2 findings proposed.*nothing was added/);
});

test("a thought stays as its reader folds it while words come", async () => {
  const desk = await opened("mine");
  const told = (thought, text, more) => {
    desk.tell("mine", { messages: [QUESTION, { ...WORDS, thought, text, ...more }] });
    return desk.panel.messages.element.querySelector(".rc-thought");
  };
  const node = told("Glands", "");
  assert.ok(node.open, "it is read while it is written");
  node.open = false;
  assert.equal(told("Glands first", ""), node);
  assert.ok(!node.open && node.textContent.endsWith("Glands first"));
  told("Glands first", "Yes");
  node.open = true;
  assert.equal(told("Glands first", "Yes, glands"), node);
  assert.ok(node.open);
  assert.match(desk.panel.messages.element.textContent, /Yes, glands/);
  assert.ok(told("Glands first", "Yes, glands.", { id: "m", state: "complete" }).open);
});

test("a thought folds by itself when the answer begins", async () => {
  const desk = await opened("mine");
  const told = (thought, text, more = {}) => {
    desk.tell("mine", { messages: [QUESTION, { ...WORDS, thought, text, ...more }] });
    return desk.panel.messages.element.querySelector(".rc-thought").open;
  };
  const whole = { id: "m", state: "complete" };
  assert.deepEqual([told("Glands", ""), told("Glands", "Yes"), told("Glands", "Yes.")], [true, false, false]);
  assert.equal(told("Glands", "Yes.", whole), false);
  assert.deepEqual([told("Glands", ""), told("Glands", "Yes.", whole)], [true, false]);
});

/** A desk in a document, whose focus counts, with a kept answer about slides. */
async function answered(answer = null) {
  newDocument();
  const desk = await opened("mine");
  document.querySelector("#rc-root").append(desk.panel.element);
  desk.tell("mine", { running: false, messages: [QUESTION, { ...ANSWER, answer }] });
  return desk;
}

test("a question that got no answer says so and is asked again as it is", async () => {
  const desk = await opened("mine");
  const error = { message: "the disk is full", hint: "", status: 507 };
  const { element } = desk.panel.messages;
  desk.tell("mine", { running: false, messages: [QUESTION] });
  assert.match(element.textContent, /No answer came/);
  desk.tell("mine", { running: false, messages: [{ ...QUESTION, error }] });
  assert.match(element.textContent, /the disk is full/);
  element.querySelector('[aria-label="Try again"]').click();
  assert.equal(desk.said.at(-1)[1].retry, QUESTION.id);
  assert.match(element.textContent, /Is there tumour\?/);
  assert.ok(!element.querySelector(".rc-error"), "it is being answered");
});

test("nobody is told of a colleague's question that nothing answers it", async () => {
  const desk = await opened("hers");
  desk.tell("hers", { running: false, messages: [QUESTION] });
  const { element } = desk.panel.messages;
  assert.ok(!element.querySelector(".rc-error") && !element.querySelector("button"));
});

test("a question whose region was deleted says so", async () => {
  const desk = await opened("mine");
  const about = { ...QUESTION, region: null, region_deleted: true };
  desk.tell("mine", { running: false, messages: [about, ANSWER] });
  assert.equal(desk.panel.messages.element.querySelector(".rc-tag").textContent, "Region deleted since");
});

test("letters of an answer are explained once the case's slides have others", async () => {
  const letters = ["a", "b", "c"].map((id) => ({ letter: id.toUpperCase(), slide_id: id }));
  const desk = await answered({ claims: [], citations: [], errors: [], warnings: [], confidence: null, letters });
  const said = () => desk.panel.messages.element.querySelector(".rc-letters")?.textContent;
  const slides = letters.map(({ letter, slide_id: id }) => ({ id, letter, name: `${id}.svs` }));
  desk.panel.setSlide(slides[0], slides, null, ["a"]);
  assert.equal(said(), undefined);
  const left = [{ ...slides[1], letter: "A" }, { ...slides[2], letter: "B" }];
  desk.panel.setSlide(left[0], left, null, ["b"]);
  assert.match(said(), /: A = a slide that was removed; B = b\.svs \(now A\); C = c\.svs \(now B\)$/);
});

test("regions on removed slides are told apart from those that were kept", async () => {
  const desk = await opened("mine");
  desk.gone = 1;
  desk.panel.messages.dispatchEvent(new CustomEvent("keep", { detail: { message: ANSWER } }));
  await settled();
  assert.match(noticePlace().textContent, /1 cited regions lie on slides that were removed.*2 findings proposed/);
});

test("whoever writes when findings are kept isn't taken away from it", async () => {
  for (const isWriting of [true, false]) {
    const { panel } = await answered();
    (isWriting ? panel.composer : panel.messages.element).focus();
    panel.messages.dispatchEvent(new CustomEvent("keep", { detail: { message: ANSWER } }));
    await settled();
    assert.equal(panel.findings.element.hidden, isWriting);
    assert.equal(document.activeElement, isWriting ? panel.composer.input : panel.findings.list);
  }
});

test("a rating leaves the focus where it was", async () => {
  const desk = await answered();
  const like = () => desk.panel.messages.element.querySelector('[aria-label="Good answer"]');
  const before = like();
  before.focus();
  desk.tell("mine", { running: false, messages: [QUESTION, { ...ANSWER, feedback: 1 }] });
  assert.notEqual(like(), before);
  assert.equal(document.activeElement, like());
  desk.tell("mine", { messages: [QUESTION, WORDS] });
  assert.equal(document.activeElement, desk.panel.messages.element, "what had it is gone");
});
