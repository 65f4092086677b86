import { h } from "../lib/dom.js";

export const title = "Chat";

export function mount(root) {
  root.append(h("div", { class: "page" }, h("header", {}, h("h1", {}, title))));
}
