// As much of a document as the page's parts need to be tested without a browser.

import { mock } from "node:test";

class Node extends EventTarget {
  constructor(tagName = "", text = "") {
    super();
    this.tagName = tagName.toUpperCase();
    this.text = text;
    this.attributes = new Map();
    this.childNodes = [];
    this.parent = null;
    this.style = {};
    this.value = "";
    this.scrollTop = this.scrollHeight = this.clientHeight = 0;
    this.classList = { toggle: () => {} };
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }

  get children() {
    return this.childNodes.filter(({ tagName }) => tagName);
  }

  get firstElementChild() {
    return this.children[0] ?? null;
  }

  get lastElementChild() {
    return this.children.at(-1) ?? null;
  }

  get nextSibling() {
    const { childNodes } = this.parent;
    return childNodes[childNodes.indexOf(this) + 1] ?? null;
  }

  get textContent() {
    return this.text + this.childNodes.map(({ textContent }) => textContent).join("");
  }

  set textContent(words) {
    this.replaceChildren(words);
  }

  append(...nodes) {
    for (const node of nodes) this.insertBefore(node, null);
  }

  insertBefore(given, other) {
    const node = given instanceof Node ? given : new Node("", String(given));
    node.remove();
    const at = other ? this.childNodes.indexOf(other) : this.childNodes.length;
    this.childNodes.splice(at, 0, node);
    node.parent = this;
  }

  before(...nodes) {
    for (const node of nodes) this.parent.insertBefore(node, this);
  }

  replaceChildren(...nodes) {
    for (const child of [...this.childNodes]) child.remove();
    this.append(...nodes);
  }

  replaceWith(node) {
    this.before(node);
    this.remove();
  }

  remove() {
    if (!this.parent) return;
    this.parent.childNodes.splice(this.parent.childNodes.indexOf(this), 1);
    this.parent = null;
  }

  /** All nodes below that have a class, ".so", or an attribute, "[data-so]". */
  querySelectorAll(selector) {
    const name = selector.replace(/^[.[]|\]$/g, "");
    const fits = (node) =>
      selector.startsWith(".")
        ? (node.getAttribute("class") ?? "").split(" ").includes(name)
        : node.getAttribute(name) !== null;
    return this.children.flatMap((child) => [
      ...(fits(child) ? [child] : []),
      ...child.querySelectorAll(selector),
    ]);
  }

  querySelector(selector) {
    return this.querySelectorAll(selector)[0] ?? null;
  }

  click() {
    this.dispatchEvent(new Event("click"));
  }

  scrollIntoView() {}
}

for (const name of ["hidden", "open", "disabled"]) {
  Object.defineProperty(Node.prototype, name, {
    get() {
      return this.attributes.has(name);
    },
    set(on) {
      if (on) this.attributes.set(name, "");
      else this.attributes.delete(name);
    },
  });
}

class Store {
  getItem(key) {
    return this[key] ?? null;
  }

  setItem(key, value) {
    this[key] = value;
  }

  removeItem(key) {
    delete this[key];
  }
}

export const body = new Node("body");
export const drafts = new Store();

globalThis.document = {
  documentElement: new Node("html"),
  createElement: (tagName) => new Node(tagName),
  createElementNS: (_, tagName) => new Node(tagName),
  querySelectorAll: (selector) => body.querySelectorAll(selector),
};
Object.defineProperty(globalThis, "sessionStorage", { value: drafts });

/** Stops all timers, and lets later ones go off only when the test says so. */
export function stopClock() {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout"] });
  return mock.timers;
}

stopClock();

/** An event of a key as a field hears it. */
export function key(name, more = {}) {
  return Object.assign(new Event("keydown", { cancelable: true }), { key: name, ...more });
}

/** Lets promises that are settled go on. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}
