import assert from "node:assert/strict";
import test from "node:test";

import { MissingTiles } from "../src/missing_tiles.js";

/** A slide's tiles in a viewer as OpenSeadragon tells of them, and how often they were asked for. */
function viewer(t) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const image = { updates: 0, update: () => (image.updates += 1) };
  const shown = [image];
  let failed;
  const world = { getIndexOfItem: (one) => shown.indexOf(one) };
  const tiles = new MissingTiles([{ world, addHandler: (_, listener) => (failed = listener) }]);
  const told = [];
  tiles.addEventListener("missing", () => told.push(1));
  const fail = (tile) => {
    failed({ tiledImage: image, tile });
    tile.exists = false;
  };
  return { tiles, image, shown, told, fail };
}

test("a tile that fails is asked for again, some times by itself, then when it is wanted", (t) => {
  const { tiles, image, told, fail } = viewer(t);
  const [tile, other] = [{}, {}];
  for (let times = 1; times <= 3; times += 1) {
    fail(tile);
    assert.ok(!tile.exists);
    t.mock.timers.tick(10_000);
    assert.deepEqual([tile.exists, image.updates, told.length], [true, times, 0]);
  }
  for (let times = 1; times <= 3; times += 1) {
    fail(other);
    t.mock.timers.tick(10_000);
  }
  for (const one of [tile, other]) fail(one);
  t.mock.timers.tick(10_000);
  assert.deepEqual([tile.exists, other.exists, told.length], [false, false, 1]);
  tiles.load();
  assert.deepEqual([tile.exists, other.exists], [true, true]);
  fail(tile);
  t.mock.timers.tick(10_000);
  assert.equal(told.length, 2, "it is told again, whatever became of the notice");
});

test("tiles of a slide that was left are left too", (t) => {
  const { tiles, image, shown, told, fail } = viewer(t);
  const tile = {};
  for (let times = 0; times < 3; times += 1) {
    fail(tile);
    t.mock.timers.tick(10_000);
  }
  fail(tile);
  image.updates = shown.length = 0;
  tiles.load();
  fail({});
  t.mock.timers.tick(10_000);
  assert.deepEqual([tile.exists, image.updates, told.length], [false, 0, 0]);
});
