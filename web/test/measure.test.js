import assert from "node:assert/strict";
import test from "node:test";

import {
  boxOf,
  isLine,
  circlePoints,
  formatArea,
  formatLength,
  formatMagnification,
  insideSlide,
  magnification,
  MM2_RADIUS_UM,
  rectanglePoints,
  ringArea,
  scaleBar,
  umPerPxAt,
} from "../src/measure.js";

test("a slide of 0.25 um per pixel is 40x at its own scale", () => {
  assert.equal(magnification(0.25), 40);
  assert.equal(umPerPxAt(20), 0.5);
});

test("a scale bar is a round length that fits and takes over a third of its room", () => {
  for (let umPerPx = 0.01; umPerPx < 200; umPerPx *= 1.37) {
    const { um, px } = scaleBar(umPerPx, 130);
    assert.ok(px <= 130 && px > 130 / 2.6, `${um} um takes ${px} px`);
    assert.ok([1, 2, 5].includes(Number(String(um / 10 ** Math.floor(Math.log10(um))).slice(0, 4))));
    assert.ok(Math.abs(px * umPerPx - um) < 1e-9 * um);
  }
});

test("the circle holds one square millimetre", () => {
  const ring = circlePoints([1000, 2000], MM2_RADIUS_UM / 0.5, 720);
  assert.ok(Math.abs(ringArea(ring) * 0.25 - 1e6) < 100);
});

test("rectangles have the same corners whichever way they are drawn", () => {
  assert.deepEqual(rectanglePoints([5, 7], [1, 2]), rectanglePoints([1, 2], [5, 7]));
  assert.equal(ringArea(rectanglePoints([1, 2], [5, 7])), 20);
});

test("what is drawn beyond the slide ends at its edge", () => {
  const points = insideSlide([[-5, -5], [120, -5], [120, 90.4], [-5, 90.4]], 100, 80);
  assert.deepEqual(points, [[0, 0], [100, 0], [100, 80], [0, 80]]);
  assert.deepEqual(insideSlide([[1, 1], [1.2, 1.1], [9, 1], [9, 9]], 100, 80).length, 3);
});

test("lengths, areas and magnifications read as people write them", () => {
  assert.equal(formatLength(250), "250 µm");
  assert.equal(formatLength(1234), "1.23 mm");
  assert.equal(formatArea(1e6), "1 mm²");
  assert.equal(formatArea(421.3), "421 µm²");
  assert.equal(formatMagnification(19.97), "20×");
  assert.equal(formatMagnification(2.53), "2.5×");
});

test("the box of several polygons holds them all", () => {
  const geometry = {
    type: "MultiPolygon",
    coordinates: [[[[0, 0], [4, 0], [4, 4], [0, 0]]], [[[10, 1], [12, 1], [12, 9], [10, 1]]]],
  };
  assert.deepEqual(boxOf(geometry), { x: 0, y: 0, width: 12, height: 9 });
});

test("points and lines of QuPath can be drawn", () => {
  const at = (type, coordinates) => boxOf({ type, coordinates });
  assert.deepEqual(at("LineString", [[1, 2], [5, 2], [5, 9]]), { x: 1, y: 2, width: 4, height: 7 });
  assert.deepEqual(at("MultiLineString", [[[1, 2], [5, 2]], [[0, 0], [1, 3]]]), {
    x: 0,
    y: 0,
    width: 5,
    height: 3,
  });
  for (const box of [at("Point", [50, 60]), at("MultiPoint", [[50, 60], [50, 60]])]) {
    assert.ok(Math.abs(box.x + box.width / 2 - 50) < 1e-9 && box.width > 0);
    assert.ok(Math.abs(box.y + box.height / 2 - 60) < 1e-9 && box.height > 0);
  }
  assert.ok(isLine({ type: "MultiLineString" }) && !isLine({ type: "MultiPoint" }));
});
