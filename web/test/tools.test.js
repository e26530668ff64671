import assert from "node:assert/strict";
import test from "node:test";

import { Tools } from "../src/tools.js";

/** Tools over a slide of 1000 x 800 pixels, without a viewer. */
function tools() {
  const view = {
    osd: { addHandler: () => {} },
    element: { dataset: {}, addEventListener: () => {} },
    info: { width0: 1000, height0: 800 },
    mpp: 0.25,
    umPerPx: 0.25,
  };
  const items = { measures: [], draft: [] };
  return new Tools(view, { items, set: (layer, marks) => (items[layer] = marks) });
}

test("Space lends the move tool, and takes no tool away that was taken meanwhile", () => {
  const held = tools();
  held.take("rectangle");
  held.borrow(true);
  assert.equal(held.tool, "move");
  held.borrow(false);
  assert.equal(held.tool, "rectangle");
  held.borrow(true);
  held.take("ruler");
  held.borrow(false);
  assert.equal(held.tool, "ruler");
});

test("an outline that is given back can be changed and closed again", () => {
  const back = tools();
  const drawn = [];
  back.addEventListener("region", ({ detail }) => drawn.push(detail));
  back.giveBack([[10, 10], [200, 10], [200, 90], [10, 90]]);
  assert.equal(back.marks.items.draft.length, 1);
  assert.ok(back.undoPoint() && back.finish());
  assert.deepEqual(drawn, [{ shape: "polygon", points: [[10, 10], [200, 10], [200, 90]] }]);
  assert.equal(back.tool, "move");
});
