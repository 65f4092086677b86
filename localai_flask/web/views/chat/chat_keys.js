// The keys of the chat; help.js lists them.
import { showKeys } from "./help.js";

export class ChatKeys {
  constructor(view, signal) {
    this.view = view;
    document.addEventListener("keydown", (event) => this.#onKey(event), { signal });
  }

  #onKey(event) {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const act = this.#actOf(event);
    if (!act) return;
    event.preventDefault();
    act();
  }

  #actOf({ key, code, ctrlKey, metaKey, altKey, target }) {
    const { view } = this;
    const writes = /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
    if ((ctrlKey || metaKey) && key.toLowerCase() === "k") return () => this.#search();
    if (altKey && code === "KeyN") return () => view.create();
    if (altKey && code === "KeyS") return () => view.toggleSettings();
    if (ctrlKey || metaKey || altKey) return null;
    if (key === "Escape") return this.#escape();
    if (key === "/" && !writes) return () => view.composer.focus();
    if (key === "?" && !writes) return () => showKeys();
    return null;
  }

  #escape() {
    const { view } = this;
    if (!view.panel.element.hidden) return () => view.toggleSettings();
    return view.open_.running ? () => view.open_.stop() : null;
  }

  #search() {
    const { query } = this.view.list;
    if (query.checkVisibility?.({ visibilityProperty: true }) === false) document.querySelector(".topbar button").click();
    query.focus();
    query.select();
  }
}
