import assert from "node:assert/strict";
import test from "node:test";

import { newDocument } from "./fake_dom.js";
import { Composer } from "../src/composer.js";
import { setLanguage } from "../src/language.js";
import { noticePlace } from "../src/notices.js";

const SLIDES = [{ id: "a", letter: "A" }, { id: "b", letter: "B" }];

function written(words) {
  const composer = new Composer();
  composer.asked = [];
  composer.addEventListener("ask", ({ detail }) => composer.asked.push(detail.text));
  composer.setSlides(SLIDES, SLIDES[0], null, ["a"]);
  composer.setFresh(true);
  composer.input.value = words;
  composer.input.dispatchEvent(new Event("input"));
  return composer;
}

test("a question that is offered leaves what is being written alone", () => {
  const composer = written("half a quest");
  composer.suggestions.children[0].click();
  assert.equal(composer.asked.length, 1);
  assert.equal(composer.input.value, "half a quest");
  composer.sendButton.click();
  assert.deepEqual([composer.asked[1], composer.input.value], ["half a quest", ""]);
});

test("whoever sends by a button, or stops, goes on writing", () => {
  const composer = written("Is there tumour?");
  newDocument().append(composer.element);
  composer.addEventListener("ask", () => composer.setRunning(true));
  composer.sendButton.focus();
  composer.sendButton.click();
  assert.equal(document.activeElement, composer.input);
  composer.stopButton.focus();
  composer.setRunning(false);
  assert.equal(document.activeElement, composer.input);
  composer.suggestions.children[0].focus();
  composer.suggestions.children[0].click();
  assert.equal(document.activeElement, composer.input);
});

test("what is asked about is switched again and again by keys", () => {
  const composer = written("");
  newDocument().append(composer.element);
  const target = () => composer.target.querySelector("button");
  target().focus();
  target().click();
  assert.match(target().textContent, /all 2 slides/);
  assert.equal(document.activeElement, target());
  composer.setRegion({ id: "r", name: "Region 1", points: [[0, 0], [9, 0], [9, 9]], mpp: 0.5, slide: SLIDES[0] });
  composer.setSlides([SLIDES[0]], SLIDES[0], null, ["a"]);
  target().focus();
  target().click();
  assert.equal(document.activeElement, composer.input, "nothing is left to switch");
});

test("a question that is too long stays to be shortened", () => {
  const composer = written("肿".repeat(1001));
  composer.sendButton.click();
  assert.deepEqual([composer.asked.length, composer.input.value.length], [0, 1001]);
  assert.match(noticePlace().textContent, /1001 characters; at most 1000/);
  composer.input.value = "𠮷".repeat(1000);
  composer.sendButton.click();
  assert.equal(composer.asked.length, 1, "characters count as the server counts them");
});

test("a draft is its writer's, and forgotten at the end", () => {
  const mine = written("is it S26-01482?");
  mine.setUser("ada");
  const again = (userId) => {
    const composer = new Composer();
    composer.setUser(userId);
    return composer.input.value;
  };
  assert.deepEqual([again("bo"), again("ada")], ["", "is it S26-01482?"]);
  mine.forgetDrafts();
  assert.equal(again("ada"), "");
  assert.doesNotMatch(JSON.stringify(sessionStorage), /S26/);
});

test("keys of an unfinished composition neither send nor stop", () => {
  const composer = written("切片");
  const press = (key, more = {}) => {
    composer.input.dispatchEvent(Object.assign(new Event("keydown"), { key, ...more }));
  };
  let stops = 0;
  composer.addEventListener("stop", () => (stops += 1));
  for (const more of [{ isComposing: true }, { isComposing: false, keyCode: 229 }]) {
    press("Enter", more);
    composer.setRunning(true);
    press("Escape", more);
    composer.setRunning(false);
  }
  assert.deepEqual([composer.asked.length, stops], [0, 0]);
  press("Enter");
  assert.equal(composer.asked.length, 1);
});

test("thinking first is offered in the language that was chosen before there was a slide", () => {
  const composer = new Composer();
  newDocument().append(composer.element);
  setLanguage("zh");
  composer.setSlides(SLIDES, SLIDES[0], null, ["a"]);
  assert.match(composer.target.textContent, /先思考/);
  setLanguage("en");
});

test("the slides' list being read again takes no button away under the pointer", () => {
  const composer = written("");
  const before = [...composer.suggestions.children, ...composer.target.children];
  composer.setSlides([...SLIDES], { ...SLIDES[0] }, null, ["a"]);
  assert.deepEqual([...composer.suggestions.children, ...composer.target.children], before);
  composer.setSlides(SLIDES, SLIDES[1], "lung", ["b"]);
  assert.match(composer.target.textContent, /slide B/);
  assert.match(composer.suggestions.textContent, /lung tumour/);
});
