// As much of a document as the page's parts need to be tested without a browser.

const SELECTOR = /^(\w+)?(?:#([\w-]+))?(?:\.([\w-]+))?(?:\[([\w-]+)(?:="(.*)")?\])?$/;

class Node extends EventTarget {
  constructor(tagName = "", text = "") {
    super();
    this.tagName = tagName.toUpperCase();
    this.text = text;
    this.attributes = new Map();
    this.childNodes = [];
    this.parentNode = null;
    this.moves = 0; // how often it was put somewhere, or taken away
    this.style = {};
    this.value = "";
    this.scrollTop = this.scrollHeight = this.clientHeight = 0;
    this.dataset = new Proxy(this, { get: (node, name) => node.getAttribute(`data-${name}`) ?? undefined });
  }

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
    if (name === "value") this.value = value;
  }

  removeAttribute(name) {
    this.attributes.delete(name);
  }

  get classList() {
    const classes = new Set(this.getAttribute("class")?.match(/\S+/g));
    const toggle = (name, on) => {
      if (on) classes.add(name);
      else classes.delete(name);
      this.setAttribute("class", [...classes].join(" "));
    };
    return {
      contains: (name) => classes.has(name),
      add: (name) => toggle(name, true),
      remove: (name) => toggle(name, false),
      toggle,
    };
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
    const { childNodes } = this.parentNode;
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

  insertBefore(given, next) {
    const node = given instanceof Node ? given : new Node("", String(given));
    node.remove();
    const at = next ? this.childNodes.indexOf(next) : this.childNodes.length;
    this.childNodes.splice(at, 0, node);
    node.parentNode = this;
    node.moves += 1;
  }

  before(...nodes) {
    for (const node of nodes) this.parentNode.insertBefore(node, this);
  }

  after(node) {
    this.parentNode.insertBefore(node, this.nextSibling);
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
    if (!this.parentNode) return;
    this.parentNode.childNodes.splice(this.parentNode.childNodes.indexOf(this), 1);
    this.parentNode = null;
    this.moves += 1;
  }

  /** Of selectors only a tag, "#id", ".class" and "[attribute]", in this order. */
  matches(selector) {
    const [, tag, id, name, attribute, value] = selector.match(SELECTOR);
    return (
      (!tag || this.tagName === tag.toUpperCase()) &&
      (!id || this.getAttribute("id") === id) &&
      (!name || this.classList.contains(name)) &&
      (!attribute || this.attributes.has(attribute)) &&
      (value === undefined || this.getAttribute(attribute) === value)
    );
  }

  closest(selector) {
    return this.matches(selector) ? this : (this.parentNode?.closest(selector) ?? null);
  }

  querySelectorAll(selector) {
    return this.children.flatMap((child) => [
      ...(child.matches(selector) ? [child] : []),
      ...child.querySelectorAll(selector),
    ]);
  }

  querySelector(selector) {
    return this.querySelectorAll(selector)[0] ?? null;
  }

  contains(node) {
    return node === this || Boolean(node?.parentNode && this.contains(node.parentNode));
  }

  focus() {
    document.focused = this;
  }

  click() {
    this.dispatchEvent(new Event("click"));
  }

  scrollIntoView() {}

  showModal() {
    this.open = true;
  }

  close() {
    this.open = false;
    this.dispatchEvent(new Event("close"));
  }
}

for (const name of ["hidden", "open"]) {
  Object.defineProperty(Node.prototype, name, {
    get() {
      return this.attributes.has(name);
    },
    set(on) {
      if (on) this.setAttribute(name, "");
      else this.removeAttribute(name);
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

Object.defineProperty(globalThis, "sessionStorage", { value: new Store() });
globalThis.addEventListener = (...given) => document.addEventListener(...given);

/** Begins a document, to which nobody listens; gives the root that the page is drawn into. */
export function newDocument() {
  const root = new Node("div");
  root.setAttribute("id", "rc-root");
  globalThis.document = Object.assign(new Node(), {
    documentElement: new Node("html"),
    createElement: (tagName) => new Node(tagName),
    createElementNS: (_, tagName) => new Node(tagName),
  });
  document.append(root);
  // As in a browser, what is taken out of the document loses the focus.
  Object.defineProperty(document, "activeElement", {
    get: () => (document.contains(document.focused) ? document.focused : null),
  });
  return root;
}

newDocument();

/** Lets promises that are settled go on. */
export function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}
