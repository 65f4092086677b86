// What is installed, what could be, and one model in full.
import { loadStyle } from "../lib/style.js";
import { mountList } from "./models/list.js";
import { mountModel } from "./models/model.js";

export const title = "Models";

export async function mount(root, context) {
  await loadStyle("models");
  let inner = null;

  async function show(path) {
    inner?.abort();
    inner = new AbortController();
    const signal = AbortSignal.any([context.signal, inner.signal]);
    root.replaceChildren();
    root.scrollTop = 0;
    if (path[0] && context.isAdmin) await mountModel(root, { ...context, signal, name: path[0] });
    else await mountList(root, { ...context, signal });
  }
  await show(context.path);
  return { update: show };
}
