// How a model fits: what others take of the memory for models, what this one takes or will take, and what is left.
import { bytes } from "../../lib/format.js";
import { live } from "../../lib/live.js";
import { h } from "../../lib/dom.js";
import { s } from "../../lib/svg.js";
import { memoryOf } from "./store.js";

export function memoryBar(model) {
  const { memory, expected, isLoaded } = memoryOf(model);
  const system = live.picture?.system;
  const own = isLoaded ? memory : expected;
  if (!system || !own) return h("div", { class: "memory" });
  const others = system.totals.memory_bytes - (isLoaded ? memory : 0);
  const whole = Math.max(system.totals.memory_budget ?? live.picture.machine.memory_total, others + own);
  const isTooMuch = !isLoaded && others + own > (system.totals.memory_budget ?? Infinity);
  const share = (count) => (100 * count) / whole;
  const said = isLoaded ? `takes ${bytes(own)}` : isTooMuch ? `needs about ${bytes(own)}; others have to leave` : `needs about ${bytes(own)}`;
  // A hair's breadth would not be seen.
  const width = Math.max(1.5, share(own));
  const bar = s(
    "svg",
    { class: "memory-bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "memory-whole", width: 100, height: 6 }),
    s("rect", { class: "memory-others", width: share(others), height: 6 }),
    s("rect", { class: `memory-own ${isLoaded ? "" : "expected"} ${isTooMuch ? "bad" : ""}`, x: Math.min(share(others), 100 - width), width, height: 6 }),
  );
  return h("div", { class: "memory" }, bar, h("span", { class: "number" }, said));
}
