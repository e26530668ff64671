import assert from "node:assert/strict";
import test from "node:test";

import { joined } from "../src/overlay_menu.js";

test("two slides side by side have one legend with the colours of both", () => {
  const [tumour, fat, unknown] = ["tumour", "fat", "unknown"].map((key) => ({ key, en: key }));
  const keys = (...legends) => joined(legends).map(({ key }) => key);
  assert.deepEqual(keys([tumour, fat], [fat, unknown]), ["tumour", "fat", "unknown"]);
  assert.deepEqual(keys([], [fat]), ["fat"]);
});
