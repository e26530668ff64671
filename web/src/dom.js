// Elements made in code. Whatever comes from outside enters as text or as an attribute's value.

import { label } from "./language.js";

const SVG = "http://www.w3.org/2000/svg";
const WORDINGS = new Set(["say", "name", "aria", "hint"]);

/**
 * An HTML element.
 *
 * Attributes: `on` maps event names to listeners, `say` names the wording of its text, `name` that
 * of its ARIA label and tooltip, `aria` that of its ARIA label alone, `hint` that of its
 * placeholder; all others are set as they are, and left out where null or false.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, with the same attributes as `el`. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** An icon of 20 px, drawn with lines in the colour of the text around it. */
export function icon(path) {
  return svg(
    "svg",
    { viewBox: "0 0 24 24", class: "rc-icon", "aria-hidden": "true" },
    svg("path", { d: path }),
  );
}

/** A button with an icon, named by a wording. */
export function iconButton(path, name, click, attributes = {}) {
  return el(
    "button",
    { type: "button", class: "rc-button rc-icon-button", name, on: { click }, ...attributes },
    icon(path),
  );
}

/**
 * Makes nodes the children of a parent, in their order.
 *
 * Those that stand right aren't touched: a press on a node that is taken out and put back before it is
 * let go is no click.
 */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    const there = parent.children[index] ?? null;
    if (there !== node) parent.insertBefore(node, there);
  });
}

/** A button with a wording. */
export function button(say, click, attributes = {}) {
  return el("button", { type: "button", class: "rc-button", say, on: { click }, ...attributes });
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else if (WORDINGS.has(key)) {
      label(node, key, value);
    } else {
      node.setAttribute(key, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}
