import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";

import "./fake_dom.js";
import { citationParts, claimParts } from "../src/answer_text.js";
import { setLanguage } from "../src/language.js";
import { nextRegionName } from "../src/marks.js";
import { readPlace, writePlace } from "../src/place.js";
import { TEXTS } from "../src/texts.js";

test("citations are cut out of words and nothing is lost", () => {
  const words = "Tumour [R3][B·R12], none in [R]. [R99999] stays";
  const parts = citationParts(words);
  assert.deepEqual(
    parts.filter(({ name }) => name).map(({ name }) => name),
    ["R3", "B·R12"],
  );
  assert.equal(parts.map((part) => part.words ?? `[${part.name}]`).join(""), words);
});

test("claims are found in their order, and what lies between belongs to none", () => {
  const claims = [{ text: "Fat is seen." }, { text: "absent" }, { text: "Fat is seen." }];
  const parts = claimParts("Yes. Fat is seen. Also: Fat is seen.", claims);
  assert.deepEqual(
    parts.map(({ words, claim }) => [words, claims.indexOf(claim)]),
    [["Yes. ", -1], ["Fat is seen.", 0], [" Also: ", -1], ["Fat is seen.", 2]],
  );
});

test("an address remembers where one was", () => {
  const place = {
    case: "a".repeat(32),
    slide: "b".repeat(32),
    view: { x: 12000, y: 800, umPerPx: 0.50123, rotation: 90 },
  };
  assert.deepEqual(readPlace(`#${writePlace(place)}`), place);
});

test("a region that is drawn gets a number of its own, whatever was deleted or named", (t) => {
  const after = (...names) => nextRegionName(names.map((name) => ({ name })));
  assert.equal(after(), "Region 1");
  assert.equal(after("Region 2", "Region 3"), "Region 4");
  assert.equal(after("区域 4", "Region 2", "ROI 2026", "", "Region"), "Region 5");
  t.after(() => setLanguage("en"));
  setLanguage("zh");
  assert.equal(after("Region 9"), "区域 10");
});

test("an address that somebody made up counts as none", () => {
  const made = "#case=../etc&slide=<b>&at=1,2,0,0&chat=" + "z".repeat(32);
  assert.deepEqual(readPlace(made), {});
});

test("every wording exists in both languages with the same places", () => {
  const places = (words) => [...words.matchAll(/\{\w+\}/g)].map(String).sort();
  for (const [key, { en, zh }] of Object.entries(TEXTS)) {
    assert.ok(en && zh, key);
    assert.deepEqual(places(en), places(zh), key);
  }
});

test("every wording that the page asks for exists, and none is left over", () => {
  const folder = new URL("../src/", import.meta.url);
  const source = readdirSync(folder)
    .filter((name) => name.endsWith(".js") && name !== "texts.js")
    .map((name) => readFileSync(new URL(name, folder), "utf8"))
    .join("\n");
  const families = [...source.matchAll(/`(\w+_)\$\{/g)].map(([, stem]) => stem);
  const unused = Object.keys(TEXTS).filter(
    (key) => !source.includes(`"${key}"`) && !families.some((stem) => key.startsWith(stem)),
  );
  assert.deepEqual(unused, []);
});
