import assert from "node:assert/strict";
import test from "node:test";

import { newDocument, settled } from "./fake_dom.js";
import { complain, noticePlace, openDialog } from "../src/notices.js";

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
