// The conversations of this browser, beside the navigation: found by words, named, taken along, deleted.
import { button, h } from "../../lib/dom.js";
import { day } from "../../lib/format.js";
import { openMenu } from "../../lib/menu.js";
import { isAnswering } from "./answering.js";
import * as store from "./store.js";

const PAGE = 100;
const WAIT_MS = 150;

export class ConversationList {
  /** `acts`: `create()`, `rename(conversation)`, `exportOne(conversation)`, `exportAll()`, `importFile()`, `remove(conversation)`. */
  constructor(acts) {
    this.acts = acts;
    this.current = null;
    this.shown = PAGE;
    this.query = h("input", { type: "search", class: "input", placeholder: "Search", "aria-label": "Search the conversations", name: "search" });
    this.query.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.refresh(), WAIT_MS);
    });
    this.query.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.query.value) {
        event.stopPropagation();
        this.query.value = "";
        this.refresh();
      }
    });
    const more = button("More for all conversations", { icon: "more", bare: true, class: "quiet" }, () =>
      openMenu(more, [
        { label: "Import", icon: "upload", run: acts.importFile },
        { label: "Export all", icon: "download", run: acts.exportAll },
      ]),
    );
    this.list = h("nav", { class: "conversations", "aria-label": "Conversations" });
    this.elements = [
      h("div", { class: "list-head" }, button("New conversation", { icon: "plus", class: "grow new" }, acts.create), more),
      h("div", { class: "list-search" }, this.query),
      this.list,
    ];
  }

  async refresh() {
    const asked = this.query.value.trim();
    const [all, found] = await Promise.all([store.conversations(), asked ? store.search(asked) : null]);
    if (asked !== this.query.value.trim()) return;
    const wanted = found ? all.filter((each) => found.has(each.id)) : all;
    this.list.replaceChildren(...this.#groups(wanted.slice(0, this.shown)));
    if (wanted.length > this.shown) this.list.append(button("Show more", { class: "quiet small" }, () => ((this.shown += PAGE), this.refresh())));
    if (!wanted.length) this.list.append(h("p", { class: "hint none" }, asked ? "Nothing has these words." : "Conversations are kept in this browser only."));
  }

  #groups(conversations) {
    const groups = Map.groupBy ? Map.groupBy(conversations, (each) => day(each.updated)) : groupByDay(conversations);
    return [...groups].map(([label, list]) => h("section", {}, h("h2", {}, label), h("ul", {}, list.map((each) => this.#entry(each)))));
  }

  #entry(conversation) {
    const title = conversation.title || "New conversation";
    const more = button(`More for ${title}`, { icon: "more", bare: true, class: "quiet small" }, () =>
      openMenu(more, [
        { label: "Rename", icon: "pencil", run: () => this.acts.rename(conversation) },
        { label: "Export", icon: "download", run: () => this.acts.exportOne(conversation) },
        { label: "Delete", icon: "trash", danger: true, run: () => this.acts.remove(conversation) },
      ]),
    );
    const link = h("a", { href: `#/chat/${conversation.id}`, "aria-current": conversation.id === this.current ? "page" : undefined, title }, title);
    const busy = isAnswering(conversation.id) && h("span", { class: "pulse", role: "img", "aria-label": "Being answered" });
    return h("li", {}, link, busy, more);
  }
}

function groupByDay(conversations) {
  const groups = new Map();
  for (const each of conversations) groups.set(day(each.updated), [...(groups.get(day(each.updated)) ?? []), each]);
  return groups;
}
