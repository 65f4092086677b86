// Who uses the page: the API key, asked for once and kept in this browser, and whether it is an administrator's.
import { ask } from "./dialog.js";
import { h } from "./dom.js";
import { keep, kept } from "./kept.js";

export const session = new EventTarget();
/** Dispatches `change` when the key, and with it what may be done, is another one. */

let current = kept("key") ?? "";
let asking = null;
let declined = null;

export function key() {
  return current;
}

export function setKey(text) {
  current = text.trim();
  keep("key", current);
  session.dispatchEvent(new Event("change"));
}

/** Ask for a key after `refused` was; returns whether there is another one to try now. Who declines is left alone. */
export function askForKey(refused) {
  if (current !== refused) return Promise.resolve(true); // given meanwhile, for another request
  if (declined === refused) return Promise.resolve(false);
  asking ??= askOnce(refused).finally(() => {
    asking = null;
  });
  return asking;
}

async function askOnce(refused) {
  const input = h("input", { class: "input", type: "password", name: "key", autocomplete: "current-password", value: refused, required: true, autofocus: true });
  const given = await ask({
    title: "API key",
    content: [
      h("p", { class: "hint" }, refused ? "The server does not know this key." : "This server needs a key. It is kept in this browser only."),
      h("label", { class: "field" }, h("span", {}, "Key"), input),
    ],
    accept: "Save",
  });
  if (!given || !input.value.trim() || input.value.trim() === refused) {
    declined = refused;
    return false;
  }
  setKey(input.value);
  return true;
}
