// What the galleries offer, searched as one types.
import { json, request } from "../../lib/api.js";
import { complain } from "../../lib/dialog.js";
import { button, h } from "../../lib/dom.js";
import { number, plural } from "../../lib/format.js";
import { live } from "../../lib/live.js";
import { inWords, makeBar } from "./jobs.js";

const PAGE = 24;

export function makeGallery(signal) {
  const [list, count] = [h("ul", { class: "offers" }), h("p", { class: "faint small", role: "status" })];
  const more = button("Show more", { hidden: true }, () => look(term, page + 1));
  const faults = h("div");
  const title = h("div", { class: "row wrap" }, h("h2", { id: "gallery-title", class: "grow" }, "From the galleries"), count);
  const element = h("section", { "aria-labelledby": "gallery-title" }, title, faults, list, more);
  const cards = [];
  const started = new Map();
  let [term, page, asked] = ["", 1, 0];

  async function look(wanted, number_ = 1) {
    const mine = (asked += 1);
    [term, page] = [wanted, number_];
    const query = new URLSearchParams({ term, page, items: PAGE });
    try {
      const response = await request(`/models/available?${query}`, { signal });
      const entries = await response.json();
      if (mine !== asked) return;
      const total = Number(response.headers.get("X-Total-Count"));
      if (page === 1) cards.length = 0;
      cards.push(...entries.map((entry) => makeOffer(entry, started)));
      list.replaceChildren(...cards.map((card) => card.element));
      count.textContent = term ? `${plural(total, "model")} for “${term}”` : plural(total, "model");
      more.hidden = cards.length >= total;
    } catch (error) {
      if (mine === asked && error.name !== "AbortError") count.textContent = error.message;
    }
  }

  async function lookAtFaults() {
    const galleries = await json("/models/galleries", { signal }).catch(() => []);
    const broken = galleries.filter((each) => each.error);
    faults.replaceChildren(...broken.map((each) => h("p", { class: "notice bad" }, `The gallery ${each.name} cannot be read: ${each.error}`)));
  }

  return {
    element,
    look,
    begin: () => Promise.all([look(""), lookAtFaults()]),
    show: (jobs) => cards.forEach((card) => card.show(jobs)),
    refresh: () => look(term, 1),
  };
}

/** Whether the weights alone are more than models may take here; sizes are as galleries write them, as in "18.6 GB". */
function isTooLarge(size) {
  const [, count, unit] = /^([\d.]+) ?([KMGT])i?B$/.exec(size) ?? [];
  const budget = live.picture?.system?.totals.memory_budget ?? live.picture?.machine.memory_total;
  return Boolean(unit && budget) && Number(count) * 1000 ** (" KMGT".indexOf(unit)) > budget;
}

function makeOffer(entry, started) {
  const bar = makeBar();
  const said = h("p", { class: "faint number" });
  const coming = h("div", { class: "offer-coming", hidden: true }, bar.element, said);
  const install = button("Install", { icon: "download", "aria-label": `Install ${entry.name}` }, async () => {
    install.disabled = true;
    try {
      started.set(entry.id, (await json("/models/apply", { body: { id: entry.id } })).uuid);
    } catch (error) {
      install.disabled = false;
      complain(error);
    }
  });
  const facts = [entry.size, entry.context_length && `${number(entry.context_length)} tokens`, entry.license].filter(Boolean).join(" · ");
  const links = entry.urls.filter((url) => /^https?:\/\//.test(url)).slice(0, 1);
  const element = h(
    "li",
    { class: "offer card" },
    h("div", { class: "row wrap" }, h("h3", { class: "grow" }, entry.name), entry.installed && h("span", { class: "badge good" }, "installed")),
    h("p", { class: "description" }, entry.description),
    h("p", { class: "tags" }, entry.tags.slice(0, 5).map((tag) => h("span", { class: "badge" }, tag))),
    h("p", { class: "faint" }, facts, isTooLarge(entry.size) && h("span", { class: "badge warn" }, "larger than the memory here")),
    coming,
    h(
      "div",
      { class: "row offer-actions" },
      entry.installed ? h("a", { class: "button", href: `#/models/${encodeURIComponent(entry.name)}`, "aria-label": `Open ${entry.name}` }, "Open") : install,
      h("span", { class: "grow" }),
      links.map((url) => h("a", { href: url, rel: "noreferrer", target: "_blank" }, new URL(url).host)),
    ),
  );

  function show(jobs) {
    const job = jobs.find((each) => each.uuid === started.get(entry.id)) ?? jobs.find((each) => !each.processed && each.gallery_element_name === entry.id);
    coming.hidden = !job;
    if (!job) return;
    bar.show(job);
    said.textContent = inWords(job);
    install.disabled = !job.processed || !job.error;
    if (job.processed && !job.error) install.hidden = true;
  }
  return { element, show };
}
