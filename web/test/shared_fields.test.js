import assert from "node:assert/strict";
import test from "node:test";

import "./fake_dom.js";
import { el } from "../src/dom.js";
import { field } from "../src/notices.js";
import { SharedFields } from "../src/shared_fields.js";

test("of fields that others have changed too, one's own words stay and theirs are shown", async () => {
  const controls = { title: el("input"), block: el("input"), context: el("textarea") };
  const labels = Object.values(controls).map((control) => field("save", control));
  const body = el("div", {}, labels);
  const fields = new SharedFields(controls, { title: "S1", block: null, context: "a\r\nb" });
  controls.context.value = "a\nb"; // as browsers do by themselves
  assert.deepEqual(fields.changes(), { seen: {} });
  controls.title.value = "S2";
  const sent = [];
  const send = async (changes) => {
    sent.push(changes);
    if (sent.length === 1) throw Object.assign(new Error("changed"), { status: 409 });
  };
  const now = { title: "S3", block: "B", context: "c" };
  assert.equal(await fields.save(send, async () => now), false);
  assert.deepEqual(Object.values(controls).map(({ value }) => value), ["S2", "B", "c"]);
  assert.equal(body.children.length, 4);
  assert.match(body.children[1].textContent, /S3/);
  assert.equal(await fields.save(send, null), true);
  assert.deepEqual(sent, [
    { title: "S2", seen: { title: "S1" } },
    { title: "S2", seen: { title: "S3" } },
  ]);
});

test("a refusal that nobody else's change has caused is passed on", async () => {
  const fields = new SharedFields({ stain: el("input") }, { stain: "HE" });
  const send = async () => {
    throw Object.assign(new Error("the resolution is known"), { status: 409 });
  };
  await assert.rejects(fields.save(send, async () => ({ stain: "HE" })), /resolution/);
});
