// Fields that several people may write: what one has changed is sent, with what one saw there.

import { el } from "./dom.js";

/** Fields of a dialog that show a row of the server. */
export class SharedFields {
  /**
   * @param {Object<string, HTMLInputElement>} controls by the row's fields; each in a label of its own.
   * @param {object} row as the server gave it.
   */
  constructor(controls, row) {
    this.controls = controls;
    this.seen = {};
    this.notes = [];
    for (const key of Object.keys(controls)) this.#show(key, row[key]);
  }

  /** What is to be another, and what stood there. */
  changes() {
    const own = Object.keys(this.controls).filter((key) => this.#isChanged(key));
    const of = (value) => Object.fromEntries(own.map((key) => [key, value(key)]));
    return { ...of((key) => this.#written(key)), seen: of((key) => this.seen[key]) };
  }

  /**
   * Sends what was changed.
   *
   * @param {(changes: object) => Promise<unknown>} send is refused with 409 where the row isn't as it
   *   was seen.
   * @param {() => Promise<object>} load gives the row as it stands now.
   * @returns {Promise<boolean>} false where somebody else has written meanwhile: theirs is shown beside
   *   one's own, which is kept, and may be sent again.
   */
  async save(send, load) {
    try {
      await send(this.changes());
      return true;
    } catch (error) {
      if (error.status !== 409 || !this.#meet(await load())) throw error;
      return false;
    }
  }

  /** Takes over what others wrote, but for what one has written oneself; whether there is any such. */
  #meet(row) {
    for (const note of this.notes) note.remove();
    this.notes = [];
    for (const [key, control] of Object.entries(this.controls)) {
      const isOwn = this.#isChanged(key);
      if (isOwn && clean(row[key]) !== clean(this.seen[key])) {
        this.notes.push(theirs(control, clean(row[key])));
      }
      if (isOwn) this.seen[key] = row[key];
      else this.#show(key, row[key]);
    }
    this.notes[0]?.scrollIntoView({ block: "nearest" });
    return this.notes.length > 0;
  }

  #show(key, value) {
    const control = this.controls[key];
    this.seen[key] = value;
    // What a program has given needn't be among what people choose from.
    if (control.options) offered(control, value ?? "");
    control.value = value ?? "";
  }

  #isChanged(key) {
    return this.#written(key) !== clean(this.seen[key]);
  }

  #written(key) {
    return clean(this.controls[key].value);
  }
}

/** Words as fields give them: with plain line ends, and no space around them. */
function clean(words) {
  return (words ?? "").replace(/\r\n?/g, "\n").trim();
}

function theirs(control, words) {
  const shown = control.options ? offered(control, words).textContent : words;
  const note = el(
    "p",
    { class: "rc-theirs", role: "status" },
    el("span", { say: shown ? "field_theirs" : "field_emptied" }),
    shown ? el("q", {}, shown) : null,
  );
  control.closest("label").after(note);
  return note;
}

function offered(control, value) {
  const found = [...control.options].find((option) => option.value === value);
  const option = found ?? el("option", { value }, value);
  if (!found) control.append(option);
  return option;
}
