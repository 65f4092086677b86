// What was refused or broke off lately: marks on the last quarter of an hour, and the newest in words.
import { h } from "../../lib/dom.js";
import { plural, seconds } from "../../lib/format.js";
import { s } from "../../lib/svg.js";

const SPAN_S = 900;
const SHOWN = 6;

export function makeFailures() {
  const strip = h("div", { class: "strip" });
  const count = h("span", { class: "faint small" });
  const list = h("ul", { class: "failures" });
  const axis = h("div", { class: "axis faint", "aria-hidden": "true" }, h("span", {}, "15 min ago"), h("span", {}, "now"));
  const element = h("section", { class: "card", "aria-labelledby": "failures-title" }, h("div", { class: "row" }, h("h2", { id: "failures-title", class: "grow" }, "Recent errors"), count), strip, axis, list);
  return { element, show: (picture) => showIn(picture, strip, count, list) };
}

function showIn(picture, strip, count, list) {
  const lately = picture.failures.filter((each) => picture.at - each.at < SPAN_S);
  const marks = lately.map((each) => {
    const x = 100 - (100 * (picture.at - each.at)) / SPAN_S;
    return s("line", { class: each.status >= 500 || each.status === 200 ? "tick bad" : "tick", x1: x, x2: x, y1: 3, y2: 21 });
  });
  strip.replaceChildren(s("svg", { viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, s("line", { class: "strip-bed", x1: 0, x2: 100, y1: 12, y2: 12 }), marks));
  count.textContent = lately.length ? `${plural(lately.length, "request")} in 15 minutes` : "";
  const broken = (picture.system?.models ?? []).filter((model) => model.error).map((model) => ({ code: "not loaded", words: `${model.id}: ${model.error}` }));
  const newest = picture.failures.slice(-SHOWN).reverse();
  const rows = [
    ...broken.map(({ code, words }) => h("li", {}, h("span", { class: "badge bad" }, code), h("span", { class: "words" }, words))),
    ...newest.map((each) =>
      h(
        "li",
        {},
        h("span", { class: `badge ${each.status >= 500 ? "bad" : "warn"}` }, each.code.replaceAll("_", " ")),
        h("span", { class: "faint number" }, `${seconds(Math.max(0, picture.at - each.at))} ago`),
        h("span", { class: "words" }, `${each.method} ${each.route}${each.model ? `, ${each.model}` : ""}`),
      ),
    ),
  ];
  list.replaceChildren(...(rows.length ? rows : [h("li", { class: "faint" }, "Nothing was refused, and nothing broke off.")]));
}
