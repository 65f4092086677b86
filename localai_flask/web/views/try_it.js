// Each example of the documentation, with this server's address: as curl, Python and JavaScript, and run by a click.
import { json } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { keep, kept } from "../lib/kept.js";
import { loadStyle } from "../lib/style.js";
import { makeExample } from "./try_it/example.js";

export const title = "Try it";

export async function mount(root, { isAdmin, path, signal }) {
  const [groups, { data }] = await Promise.all([
    fetch(new URL("./try_it/examples.json", import.meta.url), { signal }).then((response) => response.json()),
    json("/v1/models", { signal }).catch(() => ({ data: [] })),
    loadStyle("try_it"),
  ]);
  const shown = groups.map((group) => ({ ...group, examples: group.examples.filter((each) => isAdmin || !each.admin) })).filter((group) => group.examples.length);
  const all = shown.flatMap((group) => group.examples);
  const models = data.map((model) => ({ name: model.id, can: model.capabilities ?? [], isReady: model.state === "ready" }));
  const model = h("select", { class: "input", id: "try-model" }, models.map(({ name }) => h("option", { value: name }, name)));
  const remembered = kept("try-model");
  const preferred = models.find(({ name }) => name === remembered) ?? models.find(({ isReady }) => isReady);
  if (preferred) model.value = preferred.name;
  const links = new Map(all.map((each) => [each.name, h("a", { href: `#/try/${each.name}` }, each.title)]));
  const select = h(
    "select",
    { class: "input", id: "try-example", on: { change: () => (location.hash = `#/try/${select.value}`) } },
    shown.map((group) => h("optgroup", { label: group.group }, group.examples.map((each) => h("option", { value: each.name }, each.title)))),
  );
  const place = h("div", { class: "try-place" });
  root.append(
    h(
      "div",
      { class: "page try-page" },
      h("header", {}, h("h1", {}, title), h("p", {}, "The documentation's examples, with this server's address. Change the body, run it, take the code along.")),
      h(
        "div",
        { class: "try-layout" },
        h(
          "nav",
          { class: "try-list", "aria-label": "Examples" },
          h("label", { class: "field", for: "try-model" }, h("span", {}, "Model"), model),
          h("label", { class: "field try-select", for: "try-example" }, h("span", {}, "Example"), select),
          shown.map((group) => h("div", {}, h("h2", {}, group.group), h("ul", {}, group.examples.map((each) => h("li", {}, links.get(each.name)))))),
        ),
        place,
      ),
    ),
  );
  let current = null;

  function choose([name]) {
    const example = all.find((each) => each.name === name) ?? all[0];
    for (const [each, link] of links) {
      if (each === example.name) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    select.value = example.name;
    current?.stop();
    current = makeExample(example, model.value, models, signal);
    place.replaceChildren(current.element);
  }
  model.addEventListener("change", () => {
    keep("try-model", model.value);
    current.useModel(model.value);
  });
  choose(path);
  return {
    update: choose,
    unmount: () => current?.stop(),
  };
}
