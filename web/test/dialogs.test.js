import assert from "node:assert/strict";
import test from "node:test";

import { complain, noticePlace, openDialog } from "../src/notices.js";
import { fakeDocument } from "./fake_document.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

function submit(dialog) {
  dialog.children[0].dispatchEvent(new Event("submit", { cancelable: true }));
}

test("what is saved is sent once, however often Save is pressed", async () => {
  fakeDocument();
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
  assert.equal(dialog.parent, null);
});

test("notices are where they can be closed, and an equal error is shown once", () => {
  const root = fakeDocument();
  const lower = openDialog("save", []);
  const dialog = openDialog("save", []);
  complain(new Error("refused"));
  complain(new Error("refused"));
  complain(new Error("refused"), "a.svs");
  assert.equal(noticePlace().parent, dialog);
  assert.deepEqual(
    noticePlace().children.map((notice) => notice.textContent),
    ["refused", "a.svs: refused"],
  );
  dialog.close();
  assert.equal(noticePlace().parent, lower);
  lower.close();
  assert.equal(noticePlace().parent, root);
});
