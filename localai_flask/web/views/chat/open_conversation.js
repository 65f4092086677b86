// The conversation that is open: its messages, the version of each that counts, and what is done with them.
import { complain } from "../../lib/dialog.js";
import { keep, kept } from "../../lib/kept.js";
import { isRunning, newAnswer } from "./answer_events.js";
import { begin, live, stop } from "./answering.js";
import { requestBody } from "./request.js";
import * as store from "./store.js";
import { Tree } from "./tree.js";

const LONGEST_TITLE = 60;

export class OpenConversation {
  /** `changed` is called when other messages are to be shown. */
  constructor(changed) {
    this.changed = changed;
    this.#begin();
  }

  #begin() {
    this.conversation = store.newConversation({});
    this.tree = new Tree();
    this.path = [];
  }

  get lastModel() {
    return kept("model");
  }

  get running() {
    return this.path.find(isRunning) ?? null;
  }

  /** Open a conversation by its id, or a new one; one that is not there is as a new one. */
  async load(id) {
    const found = id ? await store.conversation(id) : null;
    if (!found) return this.#begin();
    if (found.id === this.conversation.id) return;
    const messages = (await store.messagesOf(found.id)).map(live);
    this.conversation = found;
    this.tree = new Tree(messages);
    this.path = this.tree.path(found.leaf);
  }

  /** Take a message as it is now; returns whether it belongs here. */
  note(message) {
    if (message.conversation !== this.conversation.id) return false;
    if (!this.tree.byId.has(message.id)) return false;
    this.tree.byId.set(message.id, message);
    const at = this.path.findIndex((each) => each.id === message.id);
    if (at >= 0) this.path[at] = message;
    return true;
  }

  async choose(settings) {
    Object.assign(this.conversation.settings, settings);
    if (settings.model) keep("model", settings.model);
    await this.keepSettings();
    this.changed();
  }

  async keepSettings() {
    if (this.path.length) await store.saveConversation(this.conversation);
  }

  /** Ask a question below a message, by default the last; returns whether it could be asked. */
  async ask({ text, images = [], files = [] }, parent = this.path.at(-1)?.id ?? null) {
    if (this.running) return false;
    const question = { id: store.newId(), conversation: this.conversation.id, parent, role: "user", created: Date.now(), text, images, files };
    const isNew = this.path.length === 0 && parent === null && !this.conversation.leaf;
    if (!this.#body([...this.tree.path(parent), question])) return false;
    this.conversation.title ||= titleOf(text || files[0]?.name || "Images");
    this.tree.add(question);
    await this.#answer(question, [question]);
    if (isNew) history.replaceState(null, "", `#/chat/${this.conversation.id}`);
    return true;
  }

  /** Have the message that `parent` is answered, once more if it was before. */
  async #answer(parent, added = []) {
    const path = this.tree.path(parent.id);
    const body = this.#body(path);
    if (!body) return;
    const { id, settings } = this.conversation;
    const answer = newAnswer({ id: store.newId(), conversation: id, parent: parent.id, model: settings.model, asJson: Boolean(settings.schema) });
    this.tree.add(answer);
    Object.assign(this.conversation, { leaf: answer.id, updated: Date.now() });
    keep("model", settings.model);
    this.path = this.tree.path(answer.id);
    await store.saveAll(this.conversation, [...added, answer]);
    this.changed();
    begin(answer, body);
  }

  #body(path) {
    try {
      return requestBody(this.conversation.settings, path);
    } catch (error) {
      complain(new Error(`The settings of this conversation have a JSON Schema or tools that cannot be read: ${error.message}`));
      return null;
    }
  }

  stop() {
    if (this.running) stop(this.running);
  }

  /** What the buttons of messages do. */
  acts(edit) {
    return {
      edit,
      regenerate: (message) => this.#again(message),
      retry: () => this.#again(this.path.at(-1)),
      sendResults: (message) => this.#sendResults(message),
      branch: (message) => this.#branch(message).catch(complain),
      choose: (id) => this.#choose(id),
      keep: (message) => store.saveMessage(message),
    };
  }

  async #again(message) {
    if (!this.running) await this.#answer(this.tree.byId.get(message.parent));
  }

  async #sendResults(message) {
    if (this.running) return;
    for (const call of message.calls) Object.assign(call, { output: call.output ?? "", sent: true });
    await store.saveMessage(message);
    await this.#answer(message);
  }

  async #choose(id) {
    this.conversation.leaf = this.tree.newestLeaf(id);
    this.path = this.tree.path(this.conversation.leaf);
    await store.saveConversation(this.conversation);
    this.changed();
  }

  /** Copy the path up to a message into a conversation of its own, and open that. */
  async #branch(message) {
    const copy = store.newConversation(structuredClone(this.conversation.settings));
    copy.title = `${this.conversation.title} (branch)`;
    let parent = null;
    const messages = this.tree.path(message.id).map((each) => {
      const copied = { ...structuredClone(each), id: store.newId(), conversation: copy.id, parent };
      parent = copied.id;
      return copied;
    });
    copy.leaf = parent;
    await store.saveAll(copy, messages);
    location.hash = `#/chat/${copy.id}`;
  }
}

function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > LONGEST_TITLE ? `${line.slice(0, LONGEST_TITLE).trimEnd()} …` : line;
}
