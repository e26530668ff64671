// The server's routes, as the page uses them.

import { el } from "./dom.js";
import { text } from "./language.js";
import { SAID } from "./notices.js";

/** Where the server is: this script comes from its folder assets/web. */
const ROOT = new URL("../..", document.currentScript?.src ?? document.baseURI);

/** Entries that one answer may hold. */
const MOST = 1000;

/** A refusal: the server's own words. */
export class ServerError extends Error {
  constructor(message, { hint = "", status = 0 } = {}) {
    super(message);
    this.hint = hint;
    this.status = status;
  }
}

/** Speaks to the server; every method rejects with a `ServerError`. */
export class Server {
  constructor() {
    this.csrf = "";
    this.userId = null;
    this.uploads = 0;
    /** Whether nothing that was typed or drawn would be lost if the page were left. */
    this.mayLeave = () => true;
    this.tileUrl = (id, level, column, row) =>
      String(address(`slides/${id}/tiles/${level}/${column}_${row}.jpg`));
  }

  /** Who is logged in; where that is somebody else by now, they get the page as it is for them. */
  async me() {
    const me = await this.get("api/v1/me");
    if (this.userId !== null && me.id !== this.userId) {
      location.reload();
      await new Promise(() => {}); // whoever asked goes with the page
    }
    this.csrf = me.csrf_token;
    this.userId = me.id;
    return me;
  }

  get(path) {
    return this.#send("GET", path);
  }

  /** All entries of a list, page by page. */
  async list(path) {
    const items = [];
    for (;;) {
      const page = await this.get(`${path}?limit=${MOST}&offset=${items.length}`);
      items.push(...page.items);
      if (items.length >= page.total || !page.items.length) return items;
    }
  }

  post(path, body = {}) {
    return this.#send("POST", path, body);
  }

  put(path, body) {
    return this.#send("PUT", path, body);
  }

  patch(path, body) {
    return this.#send("PATCH", path, body);
  }

  remove(path) {
    return this.#send("DELETE", path);
  }

  slideInfo(id) {
    return this.get(`slides/${id}/info`);
  }

  /** Masks of a slide by name, with their place on it. */
  async overlays(id) {
    const { overlays } = await this.get(`slides/${id}/overlays`);
    return Object.fromEntries(
      overlays.map(({ name, extent0, legend }) => [
        name,
        { ...extent0, legend, url: String(address(`slides/${id}/overlays/${name}.png`)) },
      ]),
    );
  }

  thumbnailUrl(id, maxPx) {
    return String(address(`slides/${id}/thumbnail.jpg?max_px=${maxPx}`));
  }

  /** URL of a path, for links. */
  url(path) {
    return String(address(path));
  }

  /** Sends a file; `progress` is told the share sent, 0 to 1. */
  async upload(path, form, progress) {
    // Not after gigabytes: a login in another tab has made the token that is known here useless.
    await this.me();
    this.uploads += 1;
    try {
      return await this.#upload(path, form, progress);
    } finally {
      this.uploads -= 1;
    }
  }

  #upload(path, form, progress) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", address(path));
      request.setRequestHeader("X-CSRF-Token", this.csrf);
      request.responseType = "text";
      request.upload.addEventListener("progress", (event) => {
        if (event.lengthComputable) progress(event.loaded / event.total);
      });
      request.addEventListener("load", () => {
        const answer = parsed(request.responseText);
        if (request.status < 300) resolve(answer);
        else reject(this.#refusal(answer, request.status));
      });
      request.addEventListener("error", () => reject(new ServerError(text("offline"))));
      request.send(form);
    });
  }

  async #send(method, path, body) {
    const { csrf } = this;
    let response = await this.#fetch(method, path, body);
    if (response.status === 403 && method !== "GET" && (await this.#isOther(csrf))) {
      response = await this.#fetch(method, path, body);
    }
    const answer = parsed(await response.text());
    if (!response.ok) throw this.#refusal(answer, response.status);
    return answer;
  }

  /** Whether a login in another tab has taken the place of the one that a token was of. */
  async #isOther(csrf) {
    if (csrf === this.csrf) await this.me();
    return csrf !== this.csrf;
  }

  async #fetch(method, path, body) {
    const headers = { Accept: "application/json" };
    if (method !== "GET") headers["X-CSRF-Token"] = this.csrf;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      return await fetch(address(path), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "same-origin",
      });
    } catch {
      throw new ServerError(text("offline"));
    }
  }

  #refusal(answer, status) {
    if (status === 401) return this.#loggedOut();
    const { message, hint } = answer?.error ?? {};
    return new ServerError(message ?? wordsOf(status), { hint: hint ?? "", status });
  }

  /** To the login, unless work would be lost: then there is a link, and the work can go on after it. */
  #loggedOut() {
    const isLeaving = this.uploads === 0 && this.mayLeave();
    if (isLeaving) toLogin();
    const link = isLeaving
      ? ""
      : el("a", { href: loginAddress(), target: "_blank", say: "log_in_aside" });
    return new ServerError(text("error_401"), { hint: link, status: 401 });
  }
}

/** URL of a path of the server. */
export function address(path) {
  return new URL(path, ROOT);
}

function parsed(body) {
  try {
    return body ? JSON.parse(body) : null;
  } catch {
    return null;
  }
}

let leaving = false;

/** To the login, and from there back to where one was; once, however many requests are refused. */
function toLogin() {
  if (leaving) return;
  leaving = true;
  addEventListener("pageshow", () => (leaving = false), { once: true });
  location.assign(loginAddress());
}

function loginAddress() {
  const { pathname, search, hash } = location;
  return address(`login?next=${encodeURIComponent(pathname + search + hash)}`);
}

/** Words for an answer without any of the server's: a proxy before it gave it. */
function wordsOf(status) {
  if (status === 502 || status === 504) return text("offline");
  return SAID.has(status) ? text(`error_${status}`) : `HTTP ${status}`;
}
