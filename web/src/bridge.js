// The way to Python through a Gradio component, which loads after the page.

/** Fires "chat" with each chat that Python sends; what is said before it stands goes later. */
export class Bridge extends EventTarget {
  constructor() {
    super();
    this.component = null;
    this.waiting = [];
  }

  /** @param component `props` as Python sets them, `watch` for their changes, `trigger` for events. */
  connect(component) {
    this.component = component;
    component.watch("chat", () => {
      if (component.props.chat) {
        this.dispatchEvent(new CustomEvent("chat", { detail: component.props.chat }));
      }
    });
    for (const [name, data] of this.waiting.splice(0)) component.trigger(name, data);
  }

  /** Asks a question, or has an answer given anew. */
  ask(data) {
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

  #send(name, data) {
    if (this.component) this.component.trigger(name, data);
    else this.waiting.push([name, data]);
  }
}
