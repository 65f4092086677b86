// One model in full: its state and memory, with what it is served, and its YAML to edit.
import { json } from "../../lib/api.js";
import { ask, complain, notify } from "../../lib/dialog.js";
import { button, h } from "../../lib/dom.js";
import { bytes, number } from "../../lib/format.js";
import { follow } from "../../lib/live.js";
import { makeTabs } from "../../lib/tabs.js";
import { makeEffective } from "./effective.js";
import { memoryBar } from "./memory_bar.js";
import { actionsFor, badgeOf, chatButton, faultOf } from "./row.js";
import { fetchInstalled, memoryOf, path, remove } from "./store.js";
import { makeYamlPanel } from "./yaml_panel.js";

export async function mountModel(root, { name, signal, setTitle }) {
  setTitle(name);
  const found = (await fetchInstalled(true, signal)).find((each) => each.name === name);
  const page = h("div", { class: "page model-page" }, h("nav", { "aria-label": "Back" }, h("a", { href: "#/models" }, "All models")));
  root.append(page);
  if (!found) {
    page.append(h("p", { class: "notice bad", role: "alert" }, `There is no model ${name} any more.`));
    return;
  }
  const badge = h("span", { class: "badge" });
  const [actions, memory, fault] = [h("div", { class: "row" }), h("div"), h("p", { class: "notice bad", hidden: true })];
  page.append(
    h("header", {}, h("div", { class: "row wrap" }, h("h1", {}, name), badge, h("span", { class: "grow" }), actions, deleteButton(found)), found.description && h("p", {}, found.description)),
    fault,
    ...(found.problem ? [] : [h("div", { class: "model-facts card" }, facts(found), h("div", {}, h("p", { class: "faint" }, "Memory"), memory))]),
    tabs(found, signal),
  );
  let shown = "";
  follow(() => {
    const now = memoryOf(found);
    const [word, kind] = badgeOf(found, now);
    badge.textContent = now.state === "loading" && now.progress !== undefined ? `loading, ${Math.round(100 * now.progress)} %` : word;
    badge.className = `badge ${kind}`;
    fault.textContent = faultOf(found, now);
    fault.hidden = !fault.textContent;
    memory.replaceChildren(memoryBar(found));
    if (now.state === shown) return;
    shown = now.state;
    actions.replaceChildren(...[chatButton(found, false)].filter(Boolean), ...actionsFor(found, now.state), h("a", { class: "button", href: `#/server/${encodeURIComponent(found.engine_name)}` }, "Log"));
  }, signal);
}

function facts(model) {
  const rows = [
    ["Engine", model.backend],
    ["File", model.file],
    ["Size", model.size && bytes(model.size)],
    ["Context", model.context_length && `${number(model.context_length)} tokens`],
    ["Alias of", model.alias],
    [model.parent ? "Adapter of" : "Variant of", model.parent || model.variant_of],
    ["Can", model.capabilities.map((word) => word.replaceAll("_", " ")).join(", ")],
  ];
  return h("dl", {}, rows.filter(([, value]) => value).map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", { class: "number" }, value))));
}

function tabs(model, signal) {
  const [effective, yaml] = [makeEffective(model, signal), makeYamlPanel(model, signal, () => effective.refresh())];
  const all = [
    { name: "effective", label: "What it is served with", panel: effective.element },
    { name: "yaml", label: "YAML", panel: yaml.element },
  ];
  const made = makeTabs("Configuration", all, (name) => name === "yaml" && yaml.open());
  if (model.problem) made.choose("yaml");
  return made.element;
}

function deleteButton(model) {
  return button("Delete", { class: "danger", "aria-label": `Delete ${model.name}` }, async () => {
    const content = h("p", {}, "Its YAML and the files that no other model uses are deleted. Requests that it runs are finished first.");
    if (!(await ask({ title: `Delete ${model.name}?`, content, accept: "Delete", danger: true }))) return;
    try {
      const { uuid } = await (await remove(model)).json();
      const job = await json(`/models/jobs/${path(uuid)}`);
      notify(job.kept_files.length ? `${model.name} is deleted. Others use ${job.kept_files.join(", ")}, which stays.` : `${model.name} is deleted.`);
      location.hash = "#/models";
    } catch (error) {
      complain(error);
    }
  });
}
