// As much of a document as parts of the page need to be drawn without a browser.

class FakeNode extends EventTarget {
  constructor(tag) {
    super();
    this.tagName = tag.toUpperCase();
    this.children = [];
    this.parent = null;
    this.attributes = new Map();
    this.moves = 0; // how often it was put somewhere, or taken away
    this.words = "";
    this.dataset = new Proxy(this, { get: (node, name) => node.getAttribute(`data-${name}`) ?? undefined });
    const classes = new Set();
    this.classList = {
      add: (name) => classes.add(name),
      remove: (name) => classes.delete(name),
      contains: (name) => classes.has(name),
      toggle: (name, on) => (on ? classes.add(name) : classes.delete(name)),
    };
  }

  get textContent() {
    return this.words + this.children.map((child) => child.textContent).join("");
  }

  set textContent(words) {
    this.words = words;
  }

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
    if (["value", "open"].includes(name)) this[name] = value;
  }

  removeAttribute(name) {
    this.attributes.delete(name);
  }

  append(...nodes) {
    for (const node of nodes) {
      if (node instanceof FakeNode) this.insertBefore(node, null);
      else this.words += node;
    }
  }

  insertBefore(node, next) {
    node.remove();
    node.parent = this;
    node.moves += 1;
    this.children.splice(next ? this.children.indexOf(next) : this.children.length, 0, node);
  }

  after(node) {
    const siblings = this.parent.children;
    this.parent.insertBefore(node, siblings[siblings.indexOf(this) + 1] ?? null);
  }

  remove() {
    if (!this.parent) return;
    this.moves += 1;
    this.parent.children.splice(this.parent.children.indexOf(this), 1);
    this.parent = null;
  }

  contains(node) {
    return node === this || this.children.some((child) => child.contains(node));
  }

  closest(selector) {
    const isIt = selector.startsWith(".")
      ? this.classList.contains(selector.slice(1))
      : this.tagName === selector.toUpperCase();
    if (isIt) return this;
    return this.parent?.closest(selector) ?? null;
  }

  all() {
    return this.children.flatMap((child) => [child, ...child.all()]);
  }

  scrollIntoView() {}

  showModal() {
    this.setAttribute("open", "");
  }

  close() {
    this.removeAttribute("open");
    this.dispatchEvent(new Event("close"));
  }
}

/** Makes the globals that the page's parts use; gives the root that everything is drawn into. */
export function fakeDocument() {
  const root = new FakeNode("div");
  const places = {
    "#rc-root": () => [root],
    "dialog[open]": () => root.all().filter((node) => node.tagName === "DIALOG" && node.attributes.has("open")),
  };
  globalThis.document = Object.assign(new FakeNode("html"), {
    activeElement: null,
    hidden: false,
    createElement: (tag) => new FakeNode(tag),
    createElementNS: (_, tag) => new FakeNode(tag),
    querySelector: (selector) => places[selector]()[0] ?? null,
    querySelectorAll: (selector) => places[selector](),
  });
  globalThis.addEventListener = (...given) => document.addEventListener(...given);
  return root;
}
