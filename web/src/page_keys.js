// What each key does, QuPath's keys first.

import { PRESETS } from "./measure.js";

const STEP = 0.12;
const ZOOM = 1.5;
const PANS = {
  arrowleft: [-STEP, 0],
  arrowright: [STEP, 0],
  arrowup: [0, -STEP],
  arrowdown: [0, STEP],
};

/** The table of keys for a page. */
export function keysOf(page) {
  const { stage } = page;
  const { overlays } = stage;
  const key = (keys, shown, say, group, run) => ({ keys, shown, say, group, run });
  const take = (tool) => () => stage.take(tool);
  const findings = () => page.chat.findings;
  return [
    key(Object.keys(PANS), "← ↑ → ↓", "key_pan", "moving", (name) => stage.active.view.panBy(...PANS[name])),
    key(["+", "=", "-"], "+ −", "key_zoom", "moving", (name) =>
      stage.active.view.zoomBy(name === "-" ? 1 / ZOOM : ZOOM),
    ),
    key(["1", "2", "3", "4", "5", "6"], "1 … 6", "key_presets", "moving", (name) =>
      stage.active.zoomTo(PRESETS[Number(name) - 1]),
    ),
    key(["0"], "0", "key_fit", "moving", () => stage.active.view.fit()),
    key(["[", "]", "{", "}"], "[ ]", "key_rotate", "moving", (name) =>
      stage.turn({ "[": -90, "]": 90, "{": -5, "}": 5 }[name]),
    ),
    key(["pageup", "pagedown"], "PgUp PgDn", "key_slide", "moving", (name) =>
      page.strip.step(name === "pageup" ? -1 : 1),
    ),
    key(["shift+pageup", "shift+pagedown"], "Shift PgUp PgDn", "key_case", "moving", (name, { repeat }) => {
      // A key that is held would open every case on the way, and be refused for so much asking.
      if (!repeat) page.cases.step(name === "shift+pageup" ? -1 : 1);
    }),
    key(["m"], "M", "key_move", "tools", take("move")),
    key([], "Space", "key_space", "tools", () => false),
    key(["r"], "R", "key_rectangle", "tools", take("rectangle")),
    key(["p"], "P", "key_polygon", "tools", take("polygon")),
    key(["l"], "L", "key_ruler", "tools", take("ruler")),
    key(["o"], "O", "key_circle", "tools", take("circle")),
    key(["backspace", "delete"], "⌫ Del", "key_back", "tools", (name) =>
      stage.active.tools.undoPoint() || (name === "delete" && page.deleteRegion()),
    ),
    key(["enter"], "Enter", "key_polygon", "", () => stage.active.tools.finish()),
    key(["escape"], "Esc", "key_drop", "tools", () => escape(page)),
    key(["a"], "A", "key_annotations", "showing", () => {
      overlays.toggle("regions");
      overlays.toggle("findings");
    }),
    key(["h"], "H", "key_citations", "showing", () => overlays.toggle("citations")),
    key(["c"], "C", "key_classes", "showing", () => overlays.toggle("classes")),
    key(["t"], "T", "key_tissue", "showing", () => overlays.toggle("tissue")),
    key(["q"], "Q", "key_quality", "showing", () => overlays.toggle("quality")),
    key(["f"], "F", "key_fill", "showing", () => {
      for (const pane of stage.panes) pane.marks.toggleFill();
    }),
    key(["s"], "S", "key_beside", "showing", () => page.toggleBeside()),
    key(["shift+s"], "Shift S", "key_step", "showing", () => stage.toggleStep()),
    key(["n", "b"], "N B", "key_next", "deciding", (name) => findings().step(name === "n" ? 1 : -1)),
    // A key that is held decides once: the next finding hasn't been looked at.
    key(["y", "x"], "Y X", "key_accept", "deciding", (name, { repeat }) =>
      repeat || findings().decide(name === "y" ? "accepted" : "rejected"),
    ),
    key(["u"], "U", "key_undo", "deciding", (_, { repeat }) => repeat || findings().undo()),
    key(["/"], "/", "key_ask", "deciding", () => {
      page.chat.show("chat");
      page.chat.composer.focus();
    }),
    key(["?"], "?", "key_help", "deciding", () => page.showKeys()),
  ];
}

/** Drops the drawing, else closes the menu, else stops the answer, else takes the move tool. */
function escape(page) {
  const { stage, chat } = page;
  if (stage.active.tools.drop()) return true;
  if (!stage.overlays.element.hidden) {
    stage.overlays.toggleMenu(false);
    return true;
  }
  if (chat.composer.running) {
    chat.stop();
    return true;
  }
  stage.take("move");
  return true;
}
