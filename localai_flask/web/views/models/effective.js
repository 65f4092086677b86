// With what a model is served, key by key, and where each value comes from.
import { json } from "../../lib/api.js";
import { h } from "../../lib/dom.js";
import { path } from "./store.js";

export function makeEffective(model, signal) {
  const body = h("tbody");
  const filter = h("input", { class: "input", type: "search", placeholder: "Filter the keys", "aria-label": "Filter the keys", on: { input: show } });
  const none = h("p", { class: "faint", hidden: true });
  const head = h("thead", {}, h("tr", {}, ["Key", "Value", "Comes from"].map((each) => h("th", { scope: "col" }, each))));
  const table = h("div", { class: "table" }, h("table", {}, head, body));
  const element = h("div", { class: "stacked" }, filter, table, none);
  let keys = [];

  function show() {
    const word = filter.value.trim().toLowerCase();
    const fitting = keys.filter((each) => `${each.key} ${each.origin}`.toLowerCase().includes(word));
    body.replaceChildren(...fitting.map(drawKey));
    table.hidden = !fitting.length;
    none.hidden = fitting.length > 0;
    if (keys.length) none.textContent = "No key fits.";
  }

  async function refresh() {
    try {
      keys = (await json(`/api/models/config-effective/${path(model.name)}`, { signal })).keys;
    } catch (error) {
      if (error.name === "AbortError") return;
      keys = [];
      none.textContent = error.message;
    }
    show();
  }
  refresh();
  return { element, refresh };
}

function drawKey({ key, value, origin }) {
  return h("tr", {}, h("th", { scope: "row" }, h("code", {}, key)), h("td", {}, h("code", {}, typeof value === "string" ? value : JSON.stringify(value))), h("td", { class: "faint" }, origin));
}
