// What the address remembers after "#": case, slide, chat and view, so that a reload finds them.

const ID = /^[0-9a-f]{32}$/;

/**
 * Reads an address's fragment; what isn't well-formed counts as absent.
 *
 * @returns {{case?: string, slide?: string, beside?: string, chat?: string,
 *   view?: {x: number, y: number, umPerPx: number, rotation: number}}}
 */
export function readPlace(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const place = {};
  for (const key of ["case", "slide", "beside", "chat"]) {
    if (ID.test(fields.get(key) ?? "")) place[key] = fields.get(key);
  }
  const numbers = (fields.get("at") ?? "").split(",").map(Number);
  if (numbers.length === 4 && numbers.every(Number.isFinite) && numbers[2] > 0) {
    const [x, y, umPerPx, rotation] = numbers;
    place.view = { x, y, umPerPx, rotation };
  }
  return place;
}

/** The fragment of a place, without "#". */
export function writePlace(place) {
  const parts = ["case", "slide", "beside", "chat"]
    .filter((key) => place[key])
    .map((key) => `${key}=${place[key]}`);
  if (place.view) {
    const { x, y, umPerPx, rotation } = place.view;
    const numbers = [Math.round(x), Math.round(y), Number(umPerPx.toPrecision(5)), rotation];
    parts.push(`at=${numbers.join(",")}`);
  }
  return parts.join("&");
}
