// Chat: a list of conversations, the one that is open, and a field to write in.
import { json } from "../lib/api.js";
import { ask, complain, notify } from "../lib/dialog.js";
import { button, h } from "../lib/dom.js";
import { filesIn } from "../lib/files.js";
import { loadStyle } from "../lib/style.js";
import { answers, takeUpAll } from "./chat/answering.js";
import { ChatKeys } from "./chat/chat_keys.js";
import { Composer } from "./chat/composer.js";
import { OpenConversation } from "./chat/open_conversation.js";
import { ConversationList } from "./chat/conversation_list.js";
import { SettingsPanel, isChanged } from "./chat/settings_panel.js";
import * as store from "./chat/store.js";
import { Thread } from "./chat/thread.js";
import { exportFile, importFile } from "./chat/transfer.js";
import { welcome } from "./chat/welcome.js";

export const title = "Chat";

export async function mount(root, context) {
  await Promise.all([loadStyle("chat"), loadStyle("markdown")]);
  context.signal.throwIfAborted(); // left meanwhile
  const view = new ChatView(root, context);
  await view.start();
  return { update: (path) => view.open(path[0]), unmount: () => view.close() };
}

class ChatView {
  constructor(root, { path, side, actions, signal, setTitle }) {
    Object.assign(this, { path, signal, setTitle, models: [], welcoming: null });
    this.open_ = new OpenConversation(() => this.show());
    this.scroller = h("div", { class: "chat-scroll", tabindex: "-1" });
    this.thread = new Thread(this.scroller, this.open_.acts((message, view) => this.edit(message, view)));
    this.composer = new Composer({
      send: (what) => this.send(what),
      stop: () => this.open_.stop(),
      editLast: () => this.editLast(),
      chooseModel: (name) => this.open_.choose({ model: name }),
      openSettings: () => this.toggleSettings(),
    });
    this.panel = new SettingsPanel(() => this.open_.keepSettings(), () => this.toggleSettings());
    this.list = new ConversationList({
      create: () => this.create(),
      rename: (each) => this.rename(each),
      exportOne: (each) => exportFile([each]).catch(complain),
      exportAll: async () => exportFile(await store.conversations()).catch(complain),
      importFile: () => this.import(),
      remove: (each) => this.remove(each),
    });
    this.said = h("p", { class: "unseen", role: "status" });
    this.empty = h("div", { class: "chat-empty" });
    this.column = h("div", { class: "chat-column" }, this.scroller, h("div", { class: "chat-foot" }, this.thread.jump, this.composer.element), this.said);
    this.scroller.append(this.empty, this.thread.element);
    root.classList.add("chat");
    root.append(this.column, this.panel.element);
    side.append(...this.list.elements);
    actions.append(button("New conversation", { icon: "plus", bare: true, class: "quiet" }, () => this.create()));
    new ChatKeys(this, signal);
    this.#takeDrops(root);
  }

  async start() {
    const changed = (event) => this.onAnswer(event.detail);
    answers.addEventListener("change", changed, { signal: this.signal });
    takeUpAll().catch(complain);
    await Promise.all([this.open(this.path[0]), this.loadModels()]);
    this.composer.focus();
  }

  close() {
    this.thread.close();
  }

  async loadModels() {
    try {
      const { data } = await json("/v1/models", { signal: this.signal });
      this.models = data.filter((each) => each.capabilities.includes("chat"));
    } catch (error) {
      complain(error);
    }
    this.show();
  }

  async open(id) {
    await this.open_.load(id);
    this.signal.throwIfAborted();
    this.thread.follows = true;
    this.show();
    this.thread.toEnd();
    await this.list.refresh();
  }

  /** Have the screen show the conversation as it is. */
  show() {
    const { conversation, path, tree } = this.open_;
    const model = this.chosenModel();
    this.list.current = conversation.id;
    this.composer.showModels(this.models, model);
    this.showState();
    const isEmpty = path.length === 0;
    this.column.classList.toggle("empty", isEmpty);
    this.thread.element.hidden = isEmpty;
    this.empty.hidden = !isEmpty;
    if (isEmpty) this.empty.replaceChildren(welcome(model, (beginning) => this.begin(beginning)));
    this.thread.show(path, tree);
    this.setTitle(conversation.title || "Chat");
    if (!this.panel.element.hidden && this.panel.settings !== conversation.settings) this.panel.show(conversation.settings);
  }

  showState() {
    const { conversation, path } = this.open_;
    const usage = path.findLast((message) => message.usage)?.usage;
    const contextLength = this.models.find((each) => each.id === conversation.settings.model)?.context_length;
    this.composer.showState({ running: this.open_.running !== null, usage, contextLength });
    this.composer.settingsButton.classList.toggle("marked", isChanged(conversation.settings));
  }

  chosenModel() {
    const { settings } = this.open_.conversation;
    const names = this.models.map((each) => each.id);
    if (!names.length) return null;
    if (!names.includes(settings.model)) settings.model = names.includes(this.open_.lastModel) ? this.open_.lastModel : (this.models.find((each) => each.state === "ready") ?? this.models[0]).id;
    return settings.model;
  }

  onAnswer(message) {
    const isOver = message.status !== "running";
    if (this.open_.note(message)) {
      this.thread.update(message);
      if (isOver || message.sequence < 1) this.showState();
      if (isOver) this.said.textContent = message.error ?? `Answer: ${message.text.slice(0, 1000)}`;
    }
    if (isOver || message.sequence < 1) this.list.refresh();
    if (isOver && !this.models.some((each) => each.id === message.model && each.state === "ready")) this.loadModels();
  }

  async send(what) {
    if (!this.chosenModel()) {
      notify("There is no model to ask; install one under Models.");
      return false;
    }
    this.thread.follows = true;
    const taken = await this.open_.ask(what);
    if (taken) this.thread.toEnd();
    return taken;
  }

  begin({ text, settings = {} }) {
    Object.assign(this.open_.conversation.settings, settings);
    this.send({ text });
  }

  create() {
    if (location.hash === "#/chat") this.open();
    else location.hash = "#/chat";
    this.composer.focus();
  }

  /** Have a question edited in its place; what is sent becomes another version of it. */
  edit(message, view) {
    const text = h("textarea", { class: "input", rows: "3", value: message.text, "aria-label": "Edit the message" });
    const stop = () => {
      form.replaceWith(view.body);
      view.foot.hidden = false;
    };
    const save = () => {
      stop();
      this.open_.ask({ text: text.value.trim(), images: message.images, files: message.files }, message.parent);
    };
    const form = h("div", { class: "edit" }, text, h("div", { class: "row" }, h("span", { class: "grow" }), button("Cancel", { class: "small" }, stop), button("Send", { class: "primary small" }, save)));
    text.addEventListener("keydown", (event) => {
      if (event.key === "Escape") (event.stopPropagation(), stop());
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), save());
    });
    view.body.replaceWith(form);
    view.foot.hidden = true;
    text.focus();
  }

  editLast() {
    const last = this.open_.path.findLast((message) => message.role === "user");
    if (last && !this.open_.running) this.edit(last, this.thread.views.get(last.id));
  }

  toggleSettings() {
    const { element } = this.panel;
    element.hidden = !element.hidden;
    this.composer.settingsButton.setAttribute("aria-expanded", String(!element.hidden));
    if (!element.hidden) {
      this.panel.show(this.open_.conversation.settings);
      element.querySelector("textarea").focus();
    } else {
      this.showState();
      this.composer.focus();
    }
  }

  async rename(conversation) {
    const input = h("input", { class: "input", value: conversation.title, maxlength: "200", autofocus: true });
    if (!(await ask({ title: "Rename", content: h("label", { class: "field" }, h("span", {}, "Name"), input), accept: "Rename" }))) return;
    const current = conversation.id === this.open_.conversation.id ? this.open_.conversation : conversation;
    current.title = input.value.trim();
    await store.saveConversation(current);
    this.show();
    this.list.refresh();
  }

  async remove(conversation) {
    const messages = await store.messagesOf(conversation.id);
    await store.deleteConversation(conversation.id);
    if (conversation.id === this.open_.conversation.id) this.create();
    this.list.refresh();
    const undo = async () => (await store.saveAll(conversation, messages), this.list.refresh());
    notify("The conversation is deleted.", { label: "Undo", run: undo });
  }

  async import() {
    try {
      const count = await importFile();
      if (count !== null) notify(count === 1 ? "One conversation is imported." : `${count} conversations are imported.`);
      this.list.refresh();
    } catch (error) {
      complain(error);
    }
  }

  #takeDrops(root) {
    const on = (name, handle) => root.addEventListener(name, handle, { signal: this.signal });
    on("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      this.column.classList.add("dropping");
    });
    on("dragleave", (event) => !root.contains(event.relatedTarget) && this.column.classList.remove("dropping"));
    on("drop", (event) => {
      this.column.classList.remove("dropping");
      const files = filesIn(event.dataTransfer);
      if (!files.length) return;
      event.preventDefault(); // which would leave the page for the file
      this.composer.addFiles(files);
    });
  }
}
