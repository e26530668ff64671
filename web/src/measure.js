// Lengths, areas and magnifications; points are [x, y] in level-0 pixels.

/** Magnifications that a microscope's objectives offer. */
export const PRESETS = [1, 2, 5, 10, 20, 40];

/** Micrometres per screen pixel at 1x: a slide scanned at 40x has 0.25 um per pixel. */
const UM_PER_PX_AT_1X = 10;

/** Radius of the circle that stands for a point, level-0 pixels. */
const POINT_RADIUS_PX = 8;

/** Radius of a circle of 1 mm2, micrometres. */
export const MM2_RADIUS_UM = Math.sqrt(1e6 / Math.PI);

/** Magnification that shows so many micrometres per screen pixel. */
export function magnification(umPerPx) {
  return UM_PER_PX_AT_1X / umPerPx;
}

/** Micrometres per screen pixel at a magnification. */
export function umPerPxAt(times) {
  return UM_PER_PX_AT_1X / times;
}

/** "20×", "2.5×", "0.63×". */
export function formatMagnification(times) {
  const digits = times >= 10 ? 0 : times >= 1 ? 1 : 2;
  return `${Number(times.toFixed(digits))}×`;
}

/** The longest bar of 1, 2 or 5 by a power of ten that fits: micrometres and screen pixels. */
export function scaleBar(umPerPx, maxPx) {
  const room = umPerPx * maxPx;
  const power = 10 ** Math.floor(Math.log10(room));
  const um = [5, 2, 1].map((step) => step * power).find((length) => length <= room) ?? power;
  return { um, px: um / umPerPx };
}

/** "250 µm", "1.2 mm". */
export function formatLength(um) {
  if (um >= 1000) return `${Number((um / 1000).toPrecision(3))} mm`;
  return `${Number(um.toPrecision(3))} µm`;
}

/** "0.51 mm²", "420 µm²". */
export function formatArea(um2) {
  if (um2 >= 1e4) return `${Number((um2 / 1e6).toPrecision(2))} mm²`;
  return `${Math.round(um2)} µm²`;
}

/** Distance of two points, in their unit. */
export function distance([ax, ay], [bx, by]) {
  return Math.hypot(ax - bx, ay - by);
}

/** Area within a ring, in its unit squared; the ring may be open. */
export function ringArea(points) {
  let twice = 0;
  points.forEach(([x, y], index) => {
    const [nextX, nextY] = points[(index + 1) % points.length];
    twice += x * nextY - nextX * y;
  });
  return Math.abs(twice) / 2;
}

/** Smallest box around points. */
export function boxAround(points) {
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

/** Corners of the box between two points. */
export function rectanglePoints([ax, ay], [bx, by]) {
  return [
    [Math.min(ax, bx), Math.min(ay, by)],
    [Math.max(ax, bx), Math.min(ay, by)],
    [Math.max(ax, bx), Math.max(ay, by)],
    [Math.min(ax, bx), Math.max(ay, by)],
  ];
}

/** A circle as a ring of points. */
export function circlePoints([x, y], radius, count = 96) {
  return Array.from({ length: count }, (_, index) => {
    const angle = (2 * Math.PI * index) / count;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });
}

/** Points moved inside a slide, whole pixels, no point twice in a row. */
export function insideSlide(points, width0, height0) {
  const clamped = points.map(([x, y]) => [
    Math.round(Math.min(Math.max(x, 0), width0)),
    Math.round(Math.min(Math.max(y, 0), height0)),
  ]);
  return clamped.filter(([x, y], index) => {
    const [lastX, lastY] = clamped[(index + clamped.length - 1) % clamped.length];
    return clamped.length === 1 || x !== lastX || y !== lastY;
  });
}

/** Rings of a GeoJSON geometry; a line is one ring that stays open, a point a small circle. */
export function ringsOf({ type, coordinates }) {
  switch (type) {
    case "Point":
      return [circlePoints(coordinates, POINT_RADIUS_PX, 12)];
    case "MultiPoint":
      return coordinates.map((point) => circlePoints(point, POINT_RADIUS_PX, 12));
    case "LineString":
      return [coordinates];
    case "MultiPolygon":
      return coordinates.flat();
    default: // Polygon, MultiLineString
      return coordinates;
  }
}

/** Whether a GeoJSON geometry is a line, which encloses nothing. */
export function isLine({ type }) {
  return type.endsWith("LineString");
}

/** Box around a GeoJSON geometry, level-0 pixels. */
export function boxOf(geometry) {
  return boxAround(ringsOf(geometry).flat());
}
