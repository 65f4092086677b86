// What stands in an empty conversation: a few beginnings that show what there is.
import { h } from "../../lib/dom.js";

const BEGINNINGS = [
  { label: "Explain", text: "Explain in three sentences how a hash table works." },
  { label: "Write code", text: "Write a Python function that returns the n-th Fibonacci number, and explain it." },
  {
    label: "Fill in a form",
    text: "Anna is 31 years old and lives in Berlin. Write this as a JSON object.",
    settings: {
      schema: JSON.stringify({ type: "object", properties: { name: { type: "string" }, age: { type: "integer" }, city: { type: "string" } }, required: ["name", "age", "city"] }, null, 2),
    },
  },
];

/** `begin({text, settings})` is called for the beginning that is chosen. */
export function welcome(model, begin) {
  return h(
    "section",
    { class: "welcome" },
    h("h1", {}, model ? "What would you like to know?" : "No model yet"),
    model
      ? h("p", { class: "faint" }, "Everything stays between this browser and your own server.")
      : h("p", { class: "faint" }, "Install one under ", h("a", { href: "#/models" }, "Models"), ", and it can be asked here."),
    model && h("ul", { class: "beginnings" }, BEGINNINGS.map((each) => h("li", {}, h("button", { type: "button", on: { click: () => begin(each) } }, h("strong", {}, each.label), h("span", {}, each.text))))),
  );
}
