import { h } from "../lib/dom.js";

export const title = "Models";

export function mount(root) {
  root.append(h("div", { class: "page" }, h("header", {}, h("h1", {}, title))));
}
