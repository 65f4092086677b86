// One example: its body to change, its code to copy, a button that runs it, and what comes back.
import { copyButton } from "../../lib/clipboard.js";
import { showCode } from "../../lib/code.js";
import { button, h } from "../../lib/dom.js";
import { keep, kept } from "../../lib/kept.js";
import { key } from "../../lib/session.js";
import { makeTabs } from "../../lib/tabs.js";
import { makeAnswer } from "./answer.js";
import { json, LANGUAGES } from "./code.js";
import { makePrompt } from "./prompt.js";

export function makeExample(example, firstModel, models, signal) {
  const fault = h("p", { class: "try-fault", role: "alert" });
  const body = h("textarea", { class: "input code", rows: 10, spellcheck: "false", "aria-label": "Body of the request", on: { input: changed } });
  const address = h("code", { class: "try-address" });
  const hint = h("p", { class: "hint" });
  const run = button("Run", { icon: "play", class: "primary" }, () => answer.run(call()));
  const answer = makeAnswer(signal, (isRunning) => {
    run.disabled = isRunning;
  });
  const code = makeCode();
  const prompt = Array.isArray(example.body?.messages) ? makePrompt(signal) : null;
  const element = h(
    "article",
    { class: "try-example", "aria-labelledby": "example-title" },
    h("header", {}, h("h2", { id: "example-title" }, example.title), h("p", {}, inCode(example.about))),
    h("div", { class: "row wrap try-bar" }, h("span", { class: `badge ${example.changes ? "warn" : ""}` }, example.method), address, h("span", { class: "grow" }), run),
    example.changes && h("p", { class: "hint" }, "This changes something on the server."),
    hint,
    h("div", { class: "try-columns" }, example.body && h("div", {}, body, fault), code.element),
    answer.element,
    prompt?.element,
  );
  let model = firstModel;

  function call() {
    const path = example.path.replaceAll("{model}", encodeURIComponent(model));
    const { method, sdk } = example;
    return { method, path, sdk, body: example.body && JSON.parse(body.value) };
  }

  function changed() {
    try {
      if (example.body) JSON.parse(body.value);
      fault.textContent = "";
      body.removeAttribute("aria-invalid");
    } catch (error) {
      fault.textContent = `This is no JSON: ${error.message}`;
      body.setAttribute("aria-invalid", "true");
      run.disabled = true;
      return;
    }
    run.disabled = answer.isRunning();
    address.textContent = call().path;
    code.show(call());
    prompt?.use(call().body);
  }

  function useModel(name) {
    model = name;
    const can = models.find((each) => each.name === name)?.can ?? [];
    hint.textContent = example.can && can.length && !can.includes(example.can) ? `${name} does not do this; choose a model that does.` : "";
    if (example.body) {
      body.value = json(example.body).replaceAll('"{model}"', JSON.stringify(name));
      body.rows = Math.min(22, body.value.split("\n").length + 1);
    }
    changed();
  }

  body.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !run.disabled) run.click();
  });
  useModel(model);
  return { element, useModel, stop: answer.stop };
}

/** What stands between backticks, as code. */
function inCode(text) {
  return text.split("`").map((part, index) => (index % 2 ? h("code", {}, part) : part));
}

function makeCode() {
  const pres = new Map(LANGUAGES.map(({ name }) => [name, h("pre", { tabindex: "0" })]));
  const texts = new Map();
  let chosen = LANGUAGES[0].name;
  const tabs = makeTabs("Code", LANGUAGES.map(({ name, label }) => ({ name, label, panel: pres.get(name) })), (name) => {
    chosen = name;
    keep("try-language", name);
  });
  const copy = copyButton(() => texts.get(chosen), { label: "Copy the code" });
  tabs.list.append(h("span", { class: "grow" }));
  const before = kept("try-language");
  return {
    element: h("div", { class: "try-code" }, tabs.element, copy),
    show: (call) => {
      for (const { name, colours, write } of LANGUAGES) {
        texts.set(name, write(call, Boolean(key())));
        showCode(pres.get(name), texts.get(name), colours);
      }
      if (LANGUAGES.some(({ name }) => name === before) && chosen !== before && !tabs.isUsed) tabs.choose(before);
      tabs.isUsed = true;
    },
  };
}
