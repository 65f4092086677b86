// What one conversation asks of its model: a system prompt, sampling, a JSON Schema, tools. Empty means the model's own.
import { button, h, set } from "../../lib/dom.js";
import { EFFORTS, readSchema, readTools } from "./request.js";

const SCHEMA = `{
  "type": "object",
  "properties": {
    "name": {"type": "string"},
    "age": {"type": "integer"},
    "city": {"type": "string"}
  },
  "required": ["name", "age", "city"]
}`;
const TOOLS = `[
  {
    "name": "get_weather",
    "description": "The weather of a city, now",
    "parameters": {
      "type": "object",
      "properties": {"city": {"type": "string"}},
      "required": ["city"]
    }
  }
]`;
const NUMBERS = [
  ["temperature", "Temperature", { min: 0, max: 2, step: 0.1 }],
  ["top_p", "Top p", { min: 0, max: 1, step: 0.05 }],
  ["max_output_tokens", "Most tokens", { min: 1, step: 1 }],
  ["seed", "Seed", { min: 0, step: 1 }],
];

export class SettingsPanel {
  /** `changed` is called when a setting was; `close` when the panel shall go. */
  constructor(changed, close) {
    this.changed = changed;
    this.settings = {};
    this.fields = h("div", { class: "panel-fields" });
    this.element = h(
      "aside",
      { class: "panel", "aria-label": "Settings of this conversation", hidden: true },
      h("header", { class: "row" }, h("h2", { class: "grow" }, "Settings"), button("Close the settings", { icon: "close", bare: true, class: "quiet small" }, close)),
      this.fields,
    );
  }

  show(settings) {
    this.settings = settings;
    this.fields.replaceChildren(
      this.#text("system", "System prompt", { rows: 4, placeholder: "The model's own, if it has one" }),
      h("div", { class: "pairs" }, NUMBERS.map(([name, label, limits]) => this.#number(name, label, limits))),
      this.#choice("effort", "Thinking", [["", "The model's own"], ...EFFORTS.map((each) => [each, each === "none" ? "Off" : each[0].toUpperCase() + each.slice(1)])]),
      this.#text("schema", "JSON Schema", { rows: 5, code: true, check: readSchema, example: SCHEMA, hint: "Answers are held to it, token by token." }),
      this.#text("tools", "Tools", { rows: 5, code: true, check: readTools, example: TOOLS, hint: "Functions that the model may call; you type what they return." }),
      this.#choice("toolChoice", "Calls", [["", "As the model likes"], ["required", "At least one"], ["none", "None"]]),
      button("Back to the model's own", { class: "quiet", icon: "retry" }, () => {
        for (const name of Object.keys(settings)) if (name !== "model") delete settings[name];
        this.show(settings);
        this.changed();
      }),
    );
  }

  #note(name, value) {
    if (value === "" || value === null) delete this.settings[name];
    else this.settings[name] = value;
    this.changed();
  }

  #text(name, label, { rows, placeholder = "", code = false, check, example, hint }) {
    const id = `setting-${name}`;
    const said = h("small", { id: `${id}-hint`, "aria-live": "polite" }, hint ?? "");
    const input = h("textarea", { id, rows, placeholder, class: `input ${code ? "code" : ""}`, value: this.settings[name] ?? "", spellcheck: code ? "false" : undefined, "aria-describedby": hint ? said.id : undefined });
    const look = () => {
      const wrong = check && input.value.trim() ? problem(check, input.value) : "";
      set(input, { "aria-invalid": wrong ? "true" : null });
      said.textContent = wrong || hint || "";
    };
    input.addEventListener("input", () => (look(), this.#note(name, input.value.trim() ? input.value : "")));
    look();
    const insert = example && button("Insert an example", { class: "quiet small" }, () => {
      input.value = example;
      input.dispatchEvent(new Event("input"));
    });
    return h("div", { class: "field" }, h("div", { class: "row" }, h("label", { class: "grow", for: id }, label), insert), input, (hint || check) && said);
  }

  #number(name, label, limits) {
    const input = h("input", { type: "number", class: "input number", inputmode: "decimal", placeholder: "default", value: this.settings[name] ?? "", ...limits });
    input.addEventListener("input", () => this.#note(name, input.value === "" ? "" : Number(input.value)));
    return h("label", { class: "field" }, h("span", {}, label), input);
  }

  #choice(name, label, options) {
    const select = h("select", { class: "input" }, options.map(([value, text]) => h("option", { value, selected: value === (this.settings[name] ?? "") }, text)));
    select.addEventListener("change", () => this.#note(name, select.value));
    return h("label", { class: "field" }, h("span", {}, label), select);
  }
}

/** Whether a conversation asks for anything that is not its model's own. */
export function isChanged(settings) {
  return Object.keys(settings).some((name) => name !== "model");
}

function problem(check, text) {
  try {
    check(text);
    return "";
  } catch (error) {
    return error.message;
  }
}
