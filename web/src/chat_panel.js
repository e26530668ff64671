// The panel on the right: conversation and findings, and the way to Python for questions.

import { Composer } from "./composer.js";
import { button, el, iconButton } from "./dom.js";
import { Findings } from "./findings.js";
import { ICONS } from "./icons.js";
import { language, onLanguage, text } from "./language.js";
import { boxOf } from "./measure.js";
import { Messages } from "./messages.js";
import { ModelState } from "./model_state.js";
import { complain, notify } from "./notices.js";

const NO_CHAT = { chat_id: null, messages: [], running: false, progress: null };

/**
 * Fires "fly" {slideId, box0, mark}, "marks" when citations or findings have changed, and "chat"
 * {id} when another chat is shown.
 */
export class ChatPanel extends EventTarget {
  constructor(server, bridge) {
    super();
    this.server = server;
    this.bridge = bridge;
    this.case = null;
    this.slide = null;
    this.chats = [];
    this.chatId = null;
    this.shownMessage = null;
    this.kept = NO_CHAT;
    this.openings = 0;
    this.sent = new Map();
    this.underway = null;
    this.keeping = new Set();
    this.messages = new Messages();
    this.composer = new Composer();
    this.model = new ModelState(server);
    this.findings = new Findings(server);
    this.which = el("select", { on: { change: () => this.open(this.which.value) } });
    this.newButton = iconButton(ICONS.add, "chat_new", () => this.open(null));
    this.others = el(
      "div",
      { class: "rc-others", hidden: true },
      el("p", { say: "chat_others" }),
      button("chat_new", () => this.open(null)),
    );
    this.empty = el(
      "div",
      { class: "rc-welcome" },
      el("h2", { say: "chat_empty" }),
      el("p", { say: "chat_empty_more" }),
    );
    this.tabs = Object.fromEntries(
      ["chat", "findings"].map((name) => [
        name,
        el("button", {
          type: "button",
          role: "tab",
          say: name,
          on: { click: () => this.show(name) },
        }),
      ]),
    );
    this.conversation = el(
      "section",
      { class: "rc-conversation", role: "tabpanel" },
      this.empty,
      this.messages.element,
      this.model.element,
      this.others,
      this.composer.element,
    );
    this.element = el(
      "aside",
      { class: "rc-side" },
      el(
        "div",
        { class: "rc-tabs", role: "tablist" },
        Object.values(this.tabs),
        el("span", { class: "rc-gap" }),
        this.which,
        this.newButton,
      ),
      this.conversation,
      this.findings.element,
    );
    this.show("chat");
    this.#join();
  }

  /** Shows the conversation or the findings. */
  show(name) {
    for (const [each, tab] of Object.entries(this.tabs)) {
      tab.setAttribute("aria-selected", String(each === name));
    }
    this.conversation.hidden = this.which.hidden = this.newButton.hidden = name !== "chat";
    this.findings.element.hidden = name !== "findings";
    if (name === "chat") this.#drawChats();
  }

  /** Shows no case. */
  clear() {
    this.case = null;
    this.chats = [];
    this.#show(null);
  }

  /** Shows a case's chats: the wanted one, else the last of one's own. */
  async openCase(whole, wantedId) {
    this.case = whole;
    this.model.setContext(Boolean(whole?.context.trim()));
    const chats = whole ? await this.server.list(`api/v1/cases/${whole.id}/chats`) : [];
    if (this.case !== whole) return; // another was opened meanwhile
    this.chats = chats.reverse();
    const wanted =
      this.chats.find(({ id }) => id === wantedId) ?? this.chats.find((chat) => this.#isOwn(chat));
    this.open(wanted?.id ?? null);
  }

  /** Shows a chat, or an empty one with null. */
  open(chatId) {
    this.#show(chatId);
    this.dispatchEvent(new CustomEvent("chat", { detail: { id: chatId ?? undefined } }));
  }

  /** Says which slide is asked about, of which slides; `shown` are the ids of those in view. */
  setSlide(slide, slides, organ, shown) {
    const isOther = slide?.id !== this.slide?.id;
    this.slide = slide;
    this.composer.setSlides(slides, slide, organ, shown);
    this.messages.setSlides(slides);
    if (isOther) this.findings.open(slide).catch(complain);
  }

  /** Stops the answer that is being written. */
  stop() {
    if (this.underway) this.underway.isStopped = true;
    else this.bridge.stop(this.chatId);
  }

  /** What the shown answer cites on a slide. */
  citationsOn(slideId) {
    const message = this.shownMessage;
    const citations = message?.answer?.citations ?? [];
    return citations
      .filter((citation) => citation.slide_id === slideId)
      .map((citation) => ({ ...citation, mark: markOf(message, citation.name) }));
  }

  findingsOn(slideId) {
    return slideId === this.findings.slide?.id ? this.findings.findings : [];
  }

  #join() {
    this.bridge.addEventListener("chat", ({ detail }) => this.#receive(detail));
    this.model.addEventListener("ready", ({ detail }) => {
      this.composer.think.hidden = !detail.model.thinks;
    });
    this.bridge.addEventListener("silent", () => this.#findOut());
    this.composer.addEventListener("ask", ({ detail }) => this.#ask(detail));
    this.composer.addEventListener("stop", () => this.stop());
    this.messages.addEventListener("fly", ({ detail }) => this.#flyTo(detail));
    this.messages.addEventListener("retry", ({ detail }) => {
      const { message } = detail;
      const { messages } = this.kept;
      const data = {
        chat_id: this.chatId,
        retry: message.id,
        think: this.composer.thinkBox.checked,
      };
      // A chat that ends with its question has no answer to be taken back.
      this.#send(data, message.role === "user" ? messages : messages.slice(0, -1));
    });
    this.messages.addEventListener("rate", ({ detail }) => this.#rate(detail).catch(complain));
    this.messages.addEventListener("keep", ({ detail }) => this.#keep(detail.message).catch(complain));
    this.findings.addEventListener("changed", () => this.#tellMarks());
    this.findings.addEventListener("fly", ({ detail: { finding } }) => {
      const box0 = boxOf(finding.geometry);
      const detail = { slideId: this.findings.slide.id, box0, mark: finding.id };
      this.dispatchEvent(new CustomEvent("fly", { detail }));
    });
    onLanguage(() => this.#drawChats());
  }

  #isOwn(chat) {
    return chat.user_id === this.server.userId;
  }

  #show(chatId) {
    const chat = this.chats.find(({ id }) => id === chatId);
    const isOwn = !chat || this.#isOwn(chat);
    this.chatId = chatId;
    this.openings += 1;
    this.shownMessage = null;
    this.underway = null;
    this.kept = { ...NO_CHAT, chat_id: chatId, isComing: chatId !== null };
    this.messages.isOwn = isOwn;
    this.others.hidden = isOwn;
    this.composer.element.hidden = !isOwn;
    this.#draw(this.kept);
    this.#drawChats();
    this.bridge.look(chatId);
    // Gradio doesn't tell that a login has ended.
    if (chatId) this.server.me().catch(complain);
  }

  #ask({ text: words, think, region, all }) {
    const slides = all ? this.composer.slides : [region?.slide ?? this.slide];
    const data = {
      chat_id: this.chatId,
      case_id: this.case.id,
      text: words,
      think,
      region_id: region?.id ?? null,
      slide_ids: slides.map(({ id }) => id),
      language: language(),
    };
    this.#send(data, [...this.kept.messages, { id: "underway", role: "user", text: words, region }]);
  }

  /** Sends a question and shows it at once: the server may take its time. */
  #send(data, messages) {
    const question = { words: data.text ?? "", isStopped: false, opening: this.openings };
    this.underway = question;
    this.sent.set(this.bridge.ask(data), question);
    // Gradio doesn't tell that a login has ended.
    this.server.me().catch((error) => error.status === 401 && this.#giveUp(error, question));
    const running = { id: "running", role: "assistant", state: "running", text: "", answer: null };
    this.#draw({ ...this.kept, messages: [...messages, running], running: true });
    this.messages.toEnd();
  }

  /** Takes a chat as Python gives it, unless another one is shown by now. */
  #receive(chat) {
    const question = this.sent.get(chat.question);
    this.sent.delete(chat.question);
    if (chat.is_error) {
      this.#refused(chat, question);
      return;
    }
    if (question?.isStopped) this.bridge.stop(chat.chat_id);
    if (chat.case_id !== this.case?.id) return;
    if (chat.is_new) this.#begun(chat, question);
    if (chat.chat_id !== this.chatId) return;
    const isAwaited = question && question === this.underway;
    if (this.underway && !isAwaited && !chat.running) return; // sent before the question came
    this.underway = null;
    this.kept = chat;
    this.bridge.expect(chat.running);
    this.#draw(chat);
  }

  /** Lists a chat that a question began, and shows it unless another one was opened meanwhile. */
  #begun(chat, question) {
    if (!this.chats.some(({ id }) => id === chat.chat_id)) {
      const began = {
        id: chat.chat_id,
        user_id: this.server.userId,
        created_at: chat.created_at,
        title: chat.messages[0]?.text,
      };
      this.chats = [began, ...this.chats];
      this.#drawChats();
    }
    const isHere = question === this.underway || this.chatId === null;
    if (question?.opening !== this.openings || !isHere) return;
    this.chatId = chat.chat_id;
    this.#drawChats();
    this.dispatchEvent(new CustomEvent("chat", { detail: { id: chat.chat_id } }));
  }

  /** Asks the server why Python says nothing. */
  async #findOut() {
    try {
      await this.server.me();
      this.#giveUp({ message: text("no_reply") });
    } catch (error) {
      this.#giveUp(error);
    }
  }

  /** Says what Python refused: a question, maybe of a chat that was left since, or a look. */
  #refused({ error, chat_id: chatId }, question) {
    const isHere = this.underway ? question === this.underway : chatId === this.chatId;
    if (isHere) {
      this.bridge.expect(false);
      this.#giveUp(error, question);
      return;
    }
    complain(error);
    if (question) this.composer.giveBack(question.words);
  }

  /** Says why there's no answer; a question that didn't arrive goes back to be sent again. */
  #giveUp(error, question = this.underway) {
    complain(error);
    if (question) this.composer.giveBack(question.words);
    if (!this.underway && !this.kept.running) return;
    this.underway = null;
    this.bridge.expect(false);
    this.kept = { ...this.kept, running: false };
    this.#draw(this.kept);
    if (this.chatId) this.bridge.look(this.chatId);
  }

  #draw(chat) {
    // What hasn't come yet, or was refused, needn't be empty.
    const isEmpty = chat.messages.length === 0 && !chat.isComing;
    this.empty.hidden = !isEmpty;
    this.messages.element.hidden = chat.messages.length === 0;
    this.composer.setRunning(chat.running && this.messages.isOwn);
    this.composer.setFresh(isEmpty);
    this.messages.show(chat.messages, chat.progress);
    const last = chat.messages.findLast((message) => message.answer);
    if (last && last.id !== this.newest) this.shownMessage = last;
    else this.shownMessage = chat.messages.find(({ id }) => id === this.shownMessage?.id) ?? last;
    this.newest = last?.id;
    this.#tellMarks();
  }

  #drawChats() {
    const times = new Intl.DateTimeFormat(language() === "zh" ? "zh-CN" : "en", {
      dateStyle: "medium",
      timeStyle: "short",
    });
    const entries = this.chats.map((chat) => {
      const time = times.format(new Date(chat.created_at));
      const title = chat.title || text("chat_entry", { time });
      const words = this.#isOwn(chat) ? title : text("chat_of_other", { title });
      return el("option", { value: chat.id }, words);
    });
    if (!this.chatId) entries.unshift(el("option", { value: "" }, text("chat_new")));
    this.which.replaceChildren(...entries);
    this.which.value = this.chatId ?? "";
    this.which.setAttribute("aria-label", text("chat_which"));
    this.which.hidden = this.conversation.hidden || entries.length < 2;
  }

  #flyTo({ message, name }) {
    const citation = message.answer.citations.find((item) => item.name === name);
    this.shownMessage = message;
    this.#tellMarks();
    const detail = {
      slideId: citation.slide_id,
      box0: citation.box0,
      mark: markOf(message, name),
    };
    this.dispatchEvent(new CustomEvent("fly", { detail }));
  }

  async #rate({ message, value, reason }) {
    await this.server.put(`api/v1/chats/${this.chatId}/messages/${message.id}/feedback`, {
      feedback: value,
      reason,
    });
    this.bridge.look(this.chatId);
  }

  async #keep(message) {
    if (this.keeping.has(message.id)) return;
    this.keeping.add(message.id);
    try {
      const path = `api/v1/chats/${this.chatId}/messages/${message.id}/findings`;
      const { added, gone } = await this.server.post(path);
      if (gone) notify(text("kept_gone", { count: gone }));
      if (added || !gone) notify(added ? text("kept", { count: added }) : text("kept_before"));
    } finally {
      this.keeping.delete(message.id);
    }
    await this.findings.reload();
    if (this.composer.element.contains(document.activeElement)) return; // somebody is writing by now
    const isHere = this.conversation.contains(document.activeElement);
    this.show("findings");
    if (isHere) this.findings.list.focus();
  }

  #tellMarks() {
    this.dispatchEvent(new CustomEvent("marks"));
  }
}

function markOf(message, name) {
  return `${message.id}/${name}`;
}
