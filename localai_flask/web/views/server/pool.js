// The picture of the pool: clients at the left, a line to each model, those who wait on it, and slots where requests run.
import { request } from "../../lib/api.js";
import { complain, notify } from "../../lib/dialog.js";
import { h } from "../../lib/dom.js";
import { number } from "../../lib/format.js";
import { s } from "../../lib/svg.js";
import { makeModel } from "./model_card.js";
import { makeRequest } from "./request_mark.js";

const MOVE = { duration: 350, easing: "cubic-bezier(.2,.7,.2,1)" };

export function makePool(signal) {
  const count = h("span", { class: "gate-count number" });
  const arriving = h("div", { class: "gate-arriving" });
  const gate = h("div", { class: "gate" }, count, h("span", { class: "gate-label" }, "in flight"), arriving);
  const lines = s("svg", { class: "lines", "aria-hidden": "true" });
  const models = h("div", { class: "pool-models" });
  const empty = h("p", { class: "pool-empty" }, "No model is in memory. The first request for one loads it.");
  const asleep = h("p", { class: "pool-asleep" });
  const rest = h("p", { class: "pool-asleep" });
  const stage = h("div", { class: "stage" }, lines, gate, models);
  const element = h("section", { class: "pool card", "aria-labelledby": "pool-title" }, h("h2", { id: "pool-title" }, "Pool"), stage, rest, empty, asleep);
  const [cards, marks] = [new Map(), new Map()];

  const redraw = () => drawLines(lines, stage, gate, cards);
  const watched = new ResizeObserver(redraw);
  watched.observe(stage);
  signal.addEventListener("abort", () => watched.disconnect());

  function show(picture) {
    const awake = (picture.system?.models ?? []).filter((model) => model.workers.length || model.state === "loading");
    keep(cards, awake, (model) => model.id, makeModel, models);
    for (const model of awake) cards.get(model.id).show(model, picture);
    const before = new Map([...marks].map(([id, mark]) => [id, mark.element.getBoundingClientRect()]));
    place(picture, cards, marks, arriving);
    for (const [id, mark] of marks) glide(mark.element, before.get(id), gate);
    const all = Object.values(picture.states).reduce((sum, each) => sum + each, 0);
    count.textContent = number(all);
    gate.classList.toggle("idle", all === 0);
    rest.textContent = all > picture.requests.length ? `The ${number(picture.requests.length)} oldest of ${number(all)} requests are drawn.` : "";
    stage.hidden = awake.length === 0;
    empty.hidden = awake.length > 0;
    const away = (picture.system?.models ?? []).filter((model) => !awake.includes(model));
    asleep.textContent = away.length ? `Not in memory: ${away.map((model) => (model.error ? `${model.id} (it could not be loaded)` : model.id)).join(", ")}` : "";
    redraw();
  }
  return { element, show };
}

/** Have one thing for each of what there is, by its key; what is gone leaves. */
function keep(known, wanted, keyOf, make, parent) {
  const keys = new Set(wanted.map(keyOf));
  for (const [key, each] of known) {
    if (!keys.has(key)) {
      each.element.remove();
      known.delete(key);
    }
  }
  for (const each of wanted) {
    if (known.has(keyOf(each))) continue;
    const made = make(each);
    known.set(keyOf(each), made);
    parent?.append(made.element);
  }
}

/** Put each request where it is: before a model's slots, in one of them, or still at the gate. */
function place(picture, cards, marks, arriving) {
  const slotOf = new Map([...marks].map(([id, mark]) => [id, mark.element.parentElement]));
  keep(marks, picture.requests, (each) => `${each.pid} ${each.id}`, (each) => makeRequest(each, cancel));
  const free = new Map([...cards].map(([name, card]) => [name, new Set(card.slots)]));
  for (const each of picture.requests) {
    const id = `${each.pid} ${each.id}`;
    if (isRunning(each)) free.get(cardOf(each, picture, cards))?.delete(slotOf.get(id));
  }
  for (const each of picture.requests) {
    const id = `${each.pid} ${each.id}`;
    const mark = marks.get(id);
    const name = cardOf(each, picture, cards);
    const card = cards.get(name);
    let target = arriving;
    if (card && !isRunning(each)) target = card.queue;
    else if (card && card.slots.includes(slotOf.get(id))) target = slotOf.get(id);
    else if (card) {
      target = free.get(name).values().next().value ?? card.more;
      free.get(name).delete(target);
    }
    if (mark.element.parentElement !== target) move(mark.element, target);
    mark.show(each, picture.loaded[name]?.context_length);
  }
}

/** Move an element; where it had the focus, it keeps it. */
function move(element, target) {
  const hadFocus = document.activeElement === element;
  target.append(element);
  if (hadFocus) element.focus();
}

function isRunning(request) {
  return request.state !== "queued" && request.state !== "loading" && request.state !== "parsing";
}

/** A variant runs with the model that it is a variant of: `qwen:fast` with `qwen`. */
function cardOf(request, picture, cards) {
  if (cards.has(request.model)) return request.model;
  const base = request.model.replace(/:[^:/]*$/, "");
  return cards.has(base) ? base : undefined;
}

async function cancel(each) {
  try {
    await request(`/requests/${encodeURIComponent(each.id)}`, { method: "DELETE" });
    notify("The request is cancelled; its client is told so.");
  } catch (error) {
    complain(error.status === 404 ? new Error("It has ended already.") : error);
  }
}

/** Let an element go from where it was to where it is; what is new comes from the gate. */
function glide(element, before, gate) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches || !element.animate) return;
  const [from, to] = [before ?? gate.getBoundingClientRect(), element.getBoundingClientRect()];
  const [x, y] = [from.left - to.left, from.top - to.top];
  if (Math.abs(x) + Math.abs(y) < 2) return;
  element.animate([{ transform: `translate(${x}px, ${y}px)`, opacity: before ? 1 : 0 }, { transform: "none", opacity: 1 }], MOVE);
}

function drawLines(lines, stage, gate, cards) {
  const box = stage.getBoundingClientRect();
  if (!box.width) return;
  lines.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  const from = gate.getBoundingClientRect();
  const isColumn = from.bottom < (cards.values().next().value?.element.getBoundingClientRect().top ?? 0);
  const drawn = [...cards.values()].map((card) => {
    const to = card.entry.getBoundingClientRect();
    const d = isColumn ? down(box, from, to) : across(box, from, to);
    return s("g", { class: card.isBusy ? "line busy" : "line" }, s("path", { class: "line-bed", d }), card.isBusy && s("path", { class: "line-flow", d }));
  });
  // The same paths stay, so that what moves along them does not begin anew at each picture.
  const key = drawn.map((each) => each.outerHTML).join();
  if (lines.dataset.drawn === key) return;
  lines.dataset.drawn = key;
  lines.replaceChildren(...drawn);
}

function across(box, from, to) {
  const [x1, y1] = [from.right - box.left, (from.top + from.bottom) / 2 - box.top];
  const [x2, y2] = [to.left - box.left, (to.top + to.bottom) / 2 - box.top];
  const bend = (x2 - x1) / 2;
  return `M${x1.toFixed(1)} ${y1.toFixed(1)}C${(x1 + bend).toFixed(1)} ${y1.toFixed(1)} ${(x2 - bend).toFixed(1)} ${y2.toFixed(1)} ${x2.toFixed(1)} ${y2.toFixed(1)}`;
}

/** On a narrow screen: down along the left edge, then into the model. */
function down(box, from, to) {
  const [x1, y1] = [from.left - box.left + 12, from.bottom - box.top];
  const [x2, y2] = [to.left - box.left, (to.top + to.bottom) / 2 - box.top];
  return `M${x1.toFixed(1)} ${y1.toFixed(1)}V${(y2 - 10).toFixed(1)}Q${x1.toFixed(1)} ${y2.toFixed(1)} ${(x1 + 10).toFixed(1)} ${y2.toFixed(1)}H${x2.toFixed(1)}`;
}
