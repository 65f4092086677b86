// The keys of the chat.
import { ask } from "../../lib/dialog.js";
import { h } from "../../lib/dom.js";

const KEYS = [
  ["Enter", "send"],
  ["Shift Enter", "new line"],
  ["Esc", "stop the answer"],
  ["↑", "in an empty field: edit the last message"],
  ["/", "to the field"],
  ["Ctrl K", "search the conversations"],
  ["Alt N", "new conversation"],
  ["Alt S", "settings of this conversation"],
  ["?", "these keys"],
];

export function showKeys() {
  const rows = KEYS.map(([keys, what]) => [h("dt", {}, keys.split(" ").map((key) => h("kbd", {}, key))), h("dd", {}, what)]);
  return ask({ title: "Keys", content: h("dl", { class: "keys" }, rows), accept: "Close", cancel: null });
}
