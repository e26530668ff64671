import assert from "node:assert/strict";
import test from "node:test";

import { follow } from "../src/pair.js";

const at = (x, y, umPerPx = 2, rotation = 0) => ({ x, y, umPerPx, rotation });

test("a slide keeps its offset in micrometres, whatever its scanner's scale", () => {
  const view = follow(at(150, 80), at(100, 80), at(300, 500), 0.25);
  assert.deepEqual(view, { x: 350 / 0.25, y: 500 / 0.25, umPerPx: 2, rotation: 0 });
});

test("a slide that lies turned moves the same way over the screen", () => {
  const view = follow(at(110, 0), at(100, 0), at(0, 0, 2, 90), 1);
  assert.ok(Math.abs(view.x) < 1e-9 && Math.abs(view.y + 10) < 1e-9);
  assert.equal(view.rotation, 90);
});

test("following back and forth ends where it began", () => {
  const [left, right] = [at(10, 20, 1, 30), at(-40, 7, 3, 75)];
  const now = at(13, 29, 1.7, 30);
  const there = follow(now, left, right, 1);
  const back = follow(there, right, left, 1);
  for (const key of ["x", "y", "umPerPx", "rotation"]) {
    assert.ok(Math.abs(back[key] - now[key]) < 1e-9, key);
  }
});
