// The way to Python through a Gradio component, which loads after the page.

/** Longest that Python says nothing of a chat: while an answer is written it beats every second. */
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
    this.asked = 0;
    this.patience = null;
    this.isExpecting = false;
  }

  /** @param component `props` as Python sets them, `watch` for their changes, `trigger` for events. */
  connect(component) {
    this.component = component;
    component.watch("chat", () => {
      const { chat } = component.props;
      if (chat) this.dispatchEvent(new CustomEvent("chat", { detail: chat }));
    });
    for (const [name, data] of this.waiting.splice(0)) component.trigger(name, data);
    if (this.isExpecting) this.expect(true); // it may have loaded for long
  }

  /** Asks a question, or has an answer given anew; its number, which comes with what is told of it. */
  ask(data) {
    const question = ++this.asked;
    this.expect(true);
    this.#send("submit", { ...data, question });
    return question;
  }

  /** Looks at a chat; null at none. */
  look(chatId) {
    this.expect(chatId !== null);
    this.#send("select", { chat_id: chatId });
  }

  /** Stops the answer that is written in a chat. */
  stop(chatId) {
    this.#send("clear", { chat_id: chatId });
  }

  /** Whether Python has more to say of what is looked at. */
  expect(more) {
    clearTimeout(this.patience);
    this.isExpecting = more;
    if (more) this.patience = setTimeout(() => this.dispatchEvent(new Event("silent")), SILENT_MS);
  }

  #send(name, data) {
    if (this.component) this.component.trigger(name, data);
    else this.waiting.push([name, data]);
  }
}
