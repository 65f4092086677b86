// A model's YAML in an editor that knows the keys; what is wrong is marked while one types, and saved is what is right.
import { json, request } from "../../lib/api.js";
import { complain, notify } from "../../lib/dialog.js";
import { button, h } from "../../lib/dom.js";
import { plural } from "../../lib/format.js";
import { path } from "./store.js";

export function makeYamlPanel(model, signal, onSaved) {
  const place = h("div", { class: "editor" }, h("p", { class: "faint" }, "Looking…"));
  const [file, verdict, about] = [h("span", { class: "mono" }), h("span", { role: "status" }), h("p", { class: "key-help" })];
  const save = button("Save", { class: "primary", disabled: true, title: "Ctrl+S" }, write);
  const element = h("div", { class: "stacked" }, h("div", { class: "row wrap" }, file, h("span", { class: "grow" }), verdict, save), place, about);
  let [editor, saved, opening] = [null, "", null];

  function open() {
    opening ??= begin().catch((error) => {
      opening = null;
      if (error.name !== "AbortError") place.replaceChildren(h("p", { class: "notice bad" }, error.message));
    });
    return opening;
  }

  async function begin() {
    const [{ makeEditor }, { describe }, told, schema] = await Promise.all([
      import("./yaml_editor.js"),
      import("./yaml_keys.js"),
      json(`/api/models/edit/${path(model.name)}`, { signal }),
      json("/models/schema.json", { signal }),
    ]);
    if (signal.aborted) return;
    saved = told.config;
    file.textContent = told.filename ?? `${model.name}.yaml, which is not there yet`;
    const check = (text) => json(`/api/models/check/${path(model.name)}`, { yaml: text, signal });
    const onCursor = (keys) => about.replaceChildren(...describe(schema, keys));
    editor = makeEditor({ text: saved, schema, check, onCursor, onChange: changed, onChecked: judge, onSave: write });
    place.replaceChildren(editor.element);
  }

  function changed(text) {
    save.disabled = text === saved;
    verdict.textContent = text === saved ? "" : "Not saved yet";
    verdict.className = "faint";
  }

  function judge(findings) {
    const faults = findings.filter((each) => each.is_fault).length;
    const words = [faults && plural(faults, "fault"), findings.length - faults && plural(findings.length - faults, "warning")].filter(Boolean);
    if (words.length) verdict.textContent = words.join(", ");
    else if (editor?.text() !== saved) verdict.textContent = "Not saved yet";
    else verdict.textContent = "Nothing is wrong";
    verdict.className = faults ? "bad" : findings.length ? "warn" : "faint";
  }

  async function write() {
    const text = editor.text();
    if (text === saved) return;
    save.disabled = true;
    try {
      const response = await request(`/models/edit/${path(model.name)}`, { yaml: text, signal });
      saved = text;
      file.textContent = (await response.json()).filename;
      notify("Saved. Requests from now on go by it.");
      onSaved();
      judge([]);
    } catch (error) {
      save.disabled = false;
      complain(error);
    }
  }

  window.addEventListener("beforeunload", (event) => editor && editor.text() !== saved && event.preventDefault(), { signal });
  return { element, open };
}
