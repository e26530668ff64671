import assert from "node:assert/strict";
import test from "node:test";

import { newDocument, settled } from "./fake_dom.js";
import { Cases } from "../src/cases.js";
import { complain, isDialogChanged, noticePlace, openDialog } from "../src/notices.js";

function submit(dialog) {
  dialog.children[0].dispatchEvent(new Event("submit", { cancelable: true }));
}

test("what is saved is sent once, however often Save is pressed", async () => {
  newDocument();
  const answers = [];
  const dialog = openDialog("save", [], { save: () => new Promise((...both) => answers.push(both)) });
  submit(dialog);
  submit(dialog);
  assert.equal(answers.length, 1);
  answers[0][1](new Error("refused"));
  await settled();
  submit(dialog);
  assert.equal(answers.length, 2);
  answers[1][0]();
  await settled();
  assert.equal(dialog.parentNode, null);
});

test("Esc closes a dialog unless something was written there", () => {
  newDocument();
  const escape = (dialog) => {
    const events = [Object.assign(new Event("keydown", { cancelable: true }), { key: "Escape" })];
    events.push(new Event("cancel", { cancelable: true }));
    return events.map((event) => dialog.dispatchEvent(event) && !event.defaultPrevented);
  };
  const dialog = openDialog("save", [], { save: async () => {} });
  assert.deepEqual([escape(dialog), isDialogChanged()], [[true, true], false]);
  dialog.dispatchEvent(new Event("input"));
  assert.deepEqual([escape(dialog), isDialogChanged()], [[false, false], true]);
  const other = Object.assign(new Event("keydown", { cancelable: true }), { key: "a" });
  assert.ok(dialog.dispatchEvent(other));
  dialog.close();
  assert.ok(!isDialogChanged());
});

test("a case that is shared or chosen is the one shown, in one dialog", async () => {
  const root = newDocument();
  const answers = [];
  const list = (path) => new Promise((resolve) => answers.push([path, resolve]));
  const cases = new Cases({ list, userId: "wang" });
  const made = { owner_id: "li", context: "", updated_at: "2026-01-01T00:00:00Z" };
  const [first, second] = [1, 2].map((number) => ({ ...made, id: `c${number}`, title: `S26-${number}` }));
  const answer = async (rows) => {
    for (const [, resolve] of answers.splice(0)) resolve(rows);
    await settled();
    return root.querySelectorAll("dialog");
  };
  cases.load();
  await answer([first, second]);
  cases.shareButton.click();
  cases.step(1);
  assert.equal((await answer([])).length, 0);
  cases.shareButton.click();
  cases.shareButton.click();
  assert.equal(answers[0][0], "api/v1/cases/c2/members");
  const [shared, ...more] = await answer([]);
  assert.match(shared.textContent, /S26-2/);
  assert.equal(more.length, 0);
  shared.close();
  cases.chooseButton.click();
  cases.chooseButton.click();
  assert.equal((await answer([first, second])).length, 1);
});

test("notices are where they can be closed, and an equal error is shown once", () => {
  const root = newDocument();
  const lower = openDialog("save", []);
  const dialog = openDialog("save", []);
  complain(new Error("refused"));
  complain(new Error("refused"));
  complain(new Error("refused"), "a.svs");
  assert.equal(noticePlace().parentNode, dialog);
  assert.deepEqual(
    noticePlace().children.map((notice) => notice.textContent),
    ["refused", "a.svs: refused"],
  );
  dialog.close();
  assert.equal(noticePlace().parentNode, lower);
  lower.close();
  assert.equal(noticePlace().parentNode, root);
});
