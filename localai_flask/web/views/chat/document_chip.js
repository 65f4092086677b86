// A document as its name.
import { h, icon } from "../../lib/dom.js";

export function documentChip(name) {
  return h("span", { class: "document", title: name }, icon("page"), h("span", {}, name));
}
