// The way to Python through a Gradio component, which loads after the page.

/** Longest that Python says nothing while an answer is written: it beats every second. */
const SILENT_MS = 20_000;

/**
 * Fires "chat" with each chat that Python sends, and "silent" where it should have sent one; what
 * is said before it stands goes later.
 */
export class Bridge extends EventTarget {
  constructor() {
    super();
    this.component = null;
    this.waiting = [];
    this.patience = null;
  }

  /** @param component `props` as Python sets them, `watch` for their changes, `trigger` for events. */
  connect(component) {
    this.component = component;
    component.watch("chat", () => {
      const { chat } = component.props;
      if (!chat) return;
      this.#expect(chat.running);
      this.dispatchEvent(new CustomEvent("chat", { detail: chat }));
    });
    for (const [name, data] of this.waiting.splice(0)) component.trigger(name, data);
  }

  /** Asks a question, or has an answer given anew. */
  ask(data) {
    this.#expect(true);
    this.#send("submit", data);
  }

  /** Looks at a chat; null at none. */
  look(chatId) {
    this.#send("select", { chat_id: chatId });
  }

  /** Stops the answer that is written in a chat. */
  stop(chatId) {
    this.#send("clear", { chat_id: chatId });
  }

  #expect(more) {
    clearTimeout(this.patience);
    if (more) this.patience = setTimeout(() => this.dispatchEvent(new Event("silent")), SILENT_MS);
  }

  #send(name, data) {
    if (this.component) this.component.trigger(name, data);
    else this.waiting.push([name, data]);
  }
}
