// Four figures with their last three minutes.
import { h } from "../../lib/dom.js";
import { bytes, number, seconds } from "../../lib/format.js";
import { curve, s } from "../../lib/svg.js";

const [SHORTEST_SPAN, LONGEST_SPAN] = [20, 180];

export function makeTiles() {
  const tiles = {
    tokens: makeTile("Tokens per second"),
    firstToken: makeTile("Time to first token"),
    requests: makeTile("Requests"),
    memory: makeTile("Memory of models"),
  };
  return {
    element: h("section", { class: "tiles", "aria-label": "Figures" }, Object.values(tiles).map((tile) => tile.element)),
    show: ({ picture, history }) => {
      const span = Math.min(LONGEST_SPAN, Math.max(SHORTEST_SPAN, history.at(-1).at - history[0].at));
      showTokens(tiles.tokens, history, span);
      showFirstToken(tiles.firstToken, history, span);
      showRequests(tiles.requests, history, span);
      showMemory(tiles.memory, picture);
    },
  };
}

function makeTile(label) {
  const [value, unit, note] = [h("span", { class: "tile-value number" }), h("span", { class: "tile-unit" }), h("p", { class: "tile-note" })];
  const chart = h("div", { class: "tile-chart" });
  const element = h("div", { class: "tile" }, h("h2", {}, label), h("p", { class: "tile-figure" }, value, unit), note, chart);
  return {
    element,
    set: (text, of, said, drawn) => {
      [value.textContent, unit.textContent, note.textContent] = [text, of, said];
      chart.replaceChildren(...drawn);
    },
  };
}

function points(history, field) {
  const now = history.at(-1).at;
  return history.map((each) => [now - each.at, each[field]]);
}

function highest(history, field, least) {
  return Math.max(least, ...history.map((each) => each[field] ?? 0));
}

function showTokens(tile, history, span) {
  const { tokens, counted } = history.at(-1);
  const top = highest(history, "tokens", 1);
  const share = counted.prompt ? `, ${Math.round((100 * counted.cached) / counted.prompt)} % of prompts from the cache` : "";
  const drawn = curve(points(history, "tokens"), { span, top });
  tile.set(tokens === null ? "–" : tokens < 10 ? tokens.toFixed(1) : number(Math.round(tokens)), "", `${number(counted.generated)} so far${share}`, [drawn]);
}

function showFirstToken(tile, history, span) {
  const known = history.filter((each) => each.firstToken !== null);
  const latest = known.at(-1)?.firstToken;
  const [value, unit] = latest === undefined ? ["–", ""] : seconds(latest).split(/ (.*)/);
  const most = known.length ? `at most ${seconds(highest(history, "firstToken", 0))} lately` : "no answer has begun meanwhile";
  const drawn = curve(points(history, "firstToken"), { span, top: highest(history, "firstToken", 0.05), isArea: false, dots: true });
  tile.set(value, unit, most, [drawn]);
}

function showRequests(tile, history, span) {
  const { running, waiting } = history.at(-1);
  const top = Math.max(2, ...history.map((each) => each.running + each.waiting));
  const now = history.at(-1).at;
  const all = curve(history.map((each) => [now - each.at, each.running + each.waiting]), { span, top });
  all.classList.add("waiting");
  const run = curve(points(history, "running"), { span, top });
  tile.set(number(running), "running", waiting ? `${number(waiting)} waiting` : "nobody waits", [all, run]);
}

function showMemory(tile, { system, machine }) {
  const models = (system?.models ?? []).filter((model) => model.memory_bytes > 0);
  const used = models.reduce((sum, model) => sum + model.memory_bytes, 0);
  const budget = system?.totals.memory_budget;
  const whole = Math.max(budget ?? machine.memory_total, used, 1);
  const [value, unit] = bytes(used).split(" ");
  let from = 0;
  const parts = models.map((model, index) => {
    const width = (100 * model.memory_bytes) / whole;
    const part = s("rect", { class: `share share-${index % 4}`, x: from, y: 0, width, height: 10 }, s("title", {}, `${model.id}: ${bytes(model.memory_bytes)}`));
    from += width;
    return part;
  });
  const bar = s("svg", { class: "stack", viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, s("rect", { class: "stack-whole", width: 100, height: 10 }), parts);
  const free = `${bytes(machine.memory_available)} free, load ${machine.load} on ${machine.processors} cores`;
  tile.set(value, `${unit} of ${bytes(whole)}`, free, [bar]);
}
