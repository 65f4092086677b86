// The messages of a conversation from the newest upwards: older ones become elements when somebody scrolls to them.
import { button, h } from "../../lib/dom.js";
import { MessageView } from "./message_view.js";

const PAGE = 30;
const NEAR = 80;

export class Thread {
  /** `acts` are what the messages' buttons do; `scroller` is the element that scrolls. */
  constructor(scroller, acts) {
    this.scroller = scroller;
    this.acts = acts;
    this.top = h("div", { class: "thread-top" });
    this.list = h("div", { class: "thread-list" });
    this.element = h("section", { class: "thread", "aria-label": "Conversation" }, this.top, this.list);
    this.views = new Map();
    this.path = [];
    this.first = 0;
    this.follows = true;
    this.observer = new IntersectionObserver(([entry]) => entry.isIntersecting && this.#showOlder(), { root: scroller, rootMargin: "600px 0px 0px" });
    this.observer.observe(this.top);
    this.jump = button("To the end", { icon: "down", bare: true, class: "to-end", hidden: true }, () => this.toEnd());
    scroller.addEventListener("scroll", () => this.#onScroll(), { passive: true });
    this.resized = new ResizeObserver(() => this.follows && this.toEnd());
    this.resized.observe(this.list);
  }

  close() {
    this.observer.disconnect();
    this.resized.disconnect();
  }

  /** Show the messages of a path; those that are shown already stay as they are. */
  show(path, tree) {
    const kept = new Set(path.map((message) => message.id));
    for (const [id, view] of this.views) if (!kept.has(id)) view.element.remove(), this.views.delete(id);
    const isAnother = !path.some((message) => this.views.has(message.id));
    this.path = path;
    this.tree = tree;
    if (isAnother) this.first = Math.max(0, path.length - PAGE);
    this.first = Math.min(this.first, Math.max(0, path.length - 1));
    path.slice(this.first).forEach((message, index) => {
      const { element } = this.#viewOf(message);
      const there = this.list.children[index];
      if (there !== element) this.list.insertBefore(element, there ?? null);
    });
    this.#showFeet();
  }

  update(message) {
    const view = this.views.get(message.id);
    if (!view) return;
    view.message = message;
    view.update();
    if (message.status !== "running") this.#showFeet();
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  #viewOf(message) {
    if (!this.views.has(message.id)) this.views.set(message.id, new MessageView(message, this.acts));
    return this.views.get(message.id);
  }

  #showFeet() {
    for (const message of this.path.slice(this.first)) {
      this.views.get(message.id).showFoot(this.tree.versions(message), message === this.path.at(-1));
    }
  }

  #showOlder() {
    if (this.first === 0) return;
    const before = this.scroller.scrollHeight - this.scroller.scrollTop;
    const older = this.path.slice(Math.max(0, this.first - PAGE), this.first);
    this.first -= older.length;
    this.list.prepend(...older.map((message) => this.#viewOf(message).element));
    for (const message of older) this.views.get(message.id).showFoot(this.tree.versions(message), false);
    this.scroller.scrollTop = this.scroller.scrollHeight - before;
    requestAnimationFrame(() => {
      this.observer.unobserve(this.top); // observed anew, it reports again if it still is near
      this.observer.observe(this.top);
    });
  }

  #onScroll() {
    this.follows = this.#isAtEnd();
    this.jump.hidden = this.follows;
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }
}
