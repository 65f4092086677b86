// One model of the picture: who waits, its slots, and its workers with the memory and the cache that they fill.
import { h } from "../../lib/dom.js";
import { bytes, number, seconds } from "../../lib/format.js";
import { s } from "../../lib/svg.js";

const MOST_SLOTS = 16;
const STATES = { ready: "ready", loading: "loading", unloading: "leaving", failed: "failed", cold: "not in memory" };
const KINDS = { ready: "good", loading: "warn", unloading: "warn", failed: "bad", cold: "" };

export function makeModel(first) {
  const badge = h("span", { class: "badge" });
  const about = h("span", { class: "faint" });
  const queue = h("div", { class: "queue", role: "group", "aria-label": `Waiting for ${first.id}` });
  const [grid, more] = [h("div", { class: "slots" }), h("div", { class: "slots-more" })];
  const load = h("div", { class: "progress" }, h("div"));
  const workers = h("div", { class: "workers" });
  const entry = h("div", { class: "entry" });
  const element = h(
    "article",
    { class: "model-card", "aria-label": first.id },
    entry,
    h("div", { class: "model-head" }, h("h3", {}, h("a", { href: `#/models/${encodeURIComponent(first.id)}` }, first.id)), badge, about),
    h("div", { class: "model-body" }, queue, h("div", { class: "slots-all", role: "group", "aria-label": `Running in ${first.id}` }, grid, more), load),
    workers,
  );
  const card = { element, entry, queue, more, slots: [], isBusy: false, show };

  function show(model, picture) {
    const info = picture.loaded[model.id];
    card.isBusy = picture.requests.some((each) => each.model === model.id || each.model.startsWith(`${model.id}:`));
    badge.textContent = STATES[model.state] ?? model.state;
    badge.className = `badge ${KINDS[model.state] ?? ""}`;
    about.textContent = [model.backend, info && `${number(info.context_length)} tokens of context`, model.pinned && "pinned"].filter(Boolean).join(" · ");
    resize(Math.min(MOST_SLOTS, (info?.slots || 1) * Math.max(1, model.workers.length)));
    const progress = picture.progress[model.id];
    load.hidden = progress === undefined;
    grid.hidden = more.hidden = !load.hidden;
    load.firstChild.style.setProperty("width", `${Math.round(100 * (progress ?? 0))}%`);
    workers.replaceChildren(...model.workers.map((worker) => drawWorker(worker, info)));
  }

  function resize(count) {
    while (card.slots.length < count) {
      const slot = h("div", { class: "slot" });
      card.slots.push(slot);
      grid.append(slot);
    }
    while (card.slots.length > count && !card.slots.at(-1).childElementCount) card.slots.pop().remove();
  }
  return card;
}

function drawWorker(worker) {
  const usage = worker.kv_cache_usage;
  const words = [bytes(worker.memory_bytes), `up ${seconds(worker.uptime)}`, `process ${worker.pid}`].join(" · ");
  return h(
    "div",
    { class: "worker" },
    usage === null ? null : ring(usage),
    h("span", { class: "number" }, usage === null ? "" : `KV cache ${Math.round(100 * usage)} %`),
    h("span", { class: "faint number" }, words),
  );
}

function ring(share) {
  const length = 2 * Math.PI * 7;
  return s(
    "svg",
    { class: "ring", viewBox: "0 0 18 18", "aria-hidden": "true" },
    s("circle", { class: "ring-bed", cx: 9, cy: 9, r: 7 }),
    s("circle", { class: share > 0.9 ? "ring-fill full" : "ring-fill", cx: 9, cy: 9, r: 7, "stroke-dasharray": `${(share * length).toFixed(2)} ${length.toFixed(2)}`, transform: "rotate(-90 9 9)" }),
  );
}
