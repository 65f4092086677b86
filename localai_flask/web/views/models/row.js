// One installed model in the list.
import { complain } from "../../lib/dialog.js";
import { button, h } from "../../lib/dom.js";
import { bytes, number } from "../../lib/format.js";
import { keep } from "../../lib/kept.js";
import { memoryBar } from "./memory_bar.js";
import { load, memoryOf, unload } from "./store.js";

const STATES = {
  ready: ["in memory", "good"],
  loading: ["loading", "warn"],
  unloading: ["leaving", "warn"],
  failed: ["failed", "bad"],
  broken: ["cannot be used", "bad"],
  disabled: ["disabled", ""],
  cold: ["on disk", ""],
};

/** The badge of a model: its word, and the kind of it. */
export function badgeOf(model, now) {
  return now.state === "cold" && model.fault ? STATES.broken : (STATES[now.state] ?? [now.state, ""]);
}

/** What is wrong with a model, if anything; of its file, only as long as nobody has tried to load it. */
export function faultOf(model, now) {
  return model.problem ?? now.error ?? (now.state === "cold" ? model.fault : null) ?? "";
}

function kinOf(model) {
  if (model.alias) return `an alias of ${model.alias}`;
  if (model.parent) return `an adapter of ${model.parent}`;
  return model.variant_of ? `a variant of ${model.variant_of}` : "";
}

export function makeRow(model, isAdmin) {
  const badge = h("span", { class: "badge" });
  const [fault, memory, actions] = [h("p", { class: "fault" }), h("div"), h("div", { class: "row actions" })];
  const progress = h("div", { class: "progress", hidden: true }, h("div"));
  const name = isAdmin ? h("a", { href: `#/models/${encodeURIComponent(model.name)}` }, model.name) : model.name;
  const kin = kinOf(model);
  const facts = [kin, model.backend, model.context_length && `${number(model.context_length)} tokens`, model.size && bytes(model.size)];
  const element = h(
    "li",
    { class: "model-row" },
    h(
      "div",
      { class: "model-about" },
      h("div", { class: "row wrap" }, h("h3", {}, name), badge),
      model.description && h("p", { class: "description" }, model.description),
      h("p", { class: "faint number" }, facts.filter(Boolean).join(" · ")),
      fault,
      progress,
    ),
    memory,
    h("div", { class: "row" }, chatButton(model, true), actions),
  );
  let shown = "";

  function show() {
    const now = memoryOf(model);
    const [word, kind] = badgeOf(model, now);
    badge.textContent = word;
    badge.className = `badge ${kind}`;
    fault.textContent = faultOf(model, now);
    progress.hidden = now.state !== "loading" || now.progress === undefined;
    progress.firstChild.style.setProperty("width", `${Math.round(100 * (now.progress ?? 0))}%`);
    if (!isAdmin) return;
    if (model.problem || model.disabled || kin) return; // an alias and a variant share another's worker
    memory.replaceChildren(memoryBar(model));
    if (now.state !== shown) {
      shown = now.state;
      const hadFocus = actions.contains(document.activeElement);
      actions.replaceChildren(...actionsFor(model, now.state));
      if (hadFocus) actions.querySelector("button:not(:disabled)")?.focus();
    }
  }
  return { element, show };
}

/** A button that begins a conversation with a model, if it can have one. */
export function chatButton(model, bare) {
  if (model.problem || model.disabled || !model.capabilities.includes("chat")) return null;
  return button(bare ? `Chat with ${model.name}` : "Chat", { icon: "chat", bare, class: bare ? "quiet" : "" }, () => {
    keep("model", model.name);
    location.hash = "#/chat";
  });
}

/** What can be done with a model in a state. */
export function actionsFor(model, state) {
  const act = (what) => (event) => {
    event.currentTarget.disabled = true;
    what(model).catch((error) => {
      complain(error);
      event.target.disabled = false;
    });
  };
  const make = (word, what) => button(word, { "aria-label": `${word} ${model.name}` }, act(what));
  if (state === "ready") return [make("Unload", unload)];
  if (state === "loading") return [make("Stop loading", unload)];
  if (state === "cold") return [make("Load", load)];
  return state === "failed" ? [make("Try again", load)] : [];
}
