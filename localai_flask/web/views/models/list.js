// The list: what is on its way, what is installed, and what the galleries offer.
import { json } from "../../lib/api.js";
import { ask, complain, notify } from "../../lib/dialog.js";
import { button, h } from "../../lib/dom.js";
import { bytes, plural } from "../../lib/format.js";
import { follow, live } from "../../lib/live.js";
import { makeGallery } from "./gallery.js";
import { makeJobs } from "./jobs.js";
import { makeRow } from "./row.js";
import { fetchInstalled } from "./store.js";

const TYPING_MS = 250;

export async function mountList(root, { isAdmin, signal }) {
  const about = h("p", { role: "status" }, "Looking…");
  const search = h("input", { class: "input", type: "search", placeholder: isAdmin ? "Search what is installed, and the galleries" : "Search", "aria-label": "Search models" });
  const list = h("ul", { class: "models" });
  const none = h("p", { class: "notice" });
  const [jobs, gallery] = [makeJobs(), makeGallery(signal)];
  const address = isAdmin && button("Install from an address", { icon: "download" }, installFromAddress);
  root.append(
    h(
      "div",
      { class: "page models-page" },
      h("header", {}, h("h1", {}, "Models"), about),
      h("div", { class: "row wrap search" }, h("div", { class: "grow" }, search), address),
      isAdmin && jobs.element,
      h("section", { "aria-labelledby": "installed-title" }, h("h2", { id: "installed-title" }, "Installed"), list, none),
      isAdmin && gallery.element,
    ),
  );
  let [installed, rows, ended, timer] = [[], [], 0, null];

  async function refresh() {
    installed = await fetchInstalled(isAdmin, signal);
    rows = installed.map((model) => ({ model, ...makeRow(model, isAdmin) }));
    filter();
    show();
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fitting = rows.filter(({ model }) => words.every((word) => `${model.name} ${model.description} ${model.backend}`.toLowerCase().includes(word)));
    list.replaceChildren(...fitting.map((row) => row.element));
    list.hidden = !fitting.length;
    none.hidden = fitting.length > 0;
    none.textContent = rows.length ? "None that is installed fits." : "None yet. Install one from the galleries below, or put a GGUF file into the models folder.";
  }

  function show() {
    for (const row of rows) row.show();
    const system = live.picture?.system;
    const usable = installed.filter((model) => !model.problem && !model.alias && !model.variant_of).length;
    const free = system ? ` ${plural(system.totals.loaded_models, "model")} in memory, which has ${bytes(live.picture.machine.memory_available)} free.` : "";
    about.textContent = `${plural(usable, "model")} installed.${free}`;
    const all = live.picture?.jobs ?? [];
    if (live.picture) jobs.show(all);
    gallery.show(all);
    const now = all.filter((job) => job.processed && !job.error).length;
    if (now > ended && live.picture) refresh().catch(complain);
    ended = now;
  }

  search.addEventListener("input", () => {
    filter();
    clearTimeout(timer);
    if (isAdmin) timer = setTimeout(() => gallery.look(search.value.trim()), TYPING_MS);
  });
  ended = (live.picture?.jobs ?? []).filter((job) => job.processed && !job.error).length;
  await refresh();
  if (!isAdmin) return;
  gallery.begin();
  follow(show, signal);
}

async function installFromAddress() {
  const uri = h("input", { class: "input", placeholder: "owner/repo:Q4_K_M", required: true, autofocus: true });
  const content = [
    h("label", { class: "field" }, h("span", {}, "Address"), uri, h("small", {}, "A repository of Hugging Face, an address of a GGUF file, ollama://…, oci://…")),
  ];
  if (!(await ask({ title: "Install from an address", content, accept: "Install" })) || !uri.value.trim()) return;
  await json("/models/import-uri", { body: { uri: uri.value.trim() } }).then(() => notify("It is on its way."), complain);
}
