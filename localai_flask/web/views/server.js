// The pool as it is now, drawn: what comes in, where it waits, where it runs, how fast, and what went wrong.
import { h } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { follow, live } from "../lib/live.js";
import { loadStyle } from "../lib/style.js";
import { makeFailures } from "./server/failures.js";
import { makeLogs } from "./server/logs.js";
import { makePool } from "./server/pool.js";
import { makeTiles } from "./server/tiles.js";

export const title = "Server";

export async function mount(root, { signal, path }) {
  await loadStyle("server");
  const state = h("p", { role: "status" });
  const [tiles, pool, failures] = [makeTiles(), makePool(signal), makeFailures()];
  const logs = makeLogs(signal, path[0]);
  root.append(
    h(
      "div",
      { class: "page server" },
      h("header", {}, h("h1", {}, title), state),
      tiles.element,
      pool.element,
      h("div", { class: "server-foot" }, failures.element, logs.element),
    ),
  );
  follow(() => {
    state.textContent = inWords();
    state.classList.toggle("away", Boolean(live.picture) && !live.isConnected);
    if (!live.picture) return;
    tiles.show(live);
    pool.show(live.picture);
    failures.show(live.picture);
    logs.show(live.picture);
  }, signal);
  return { update: (path) => logs.choose(path[0]) };
}

function inWords() {
  if (!live.picture) return live.error || "Looking…";
  if (!live.isConnected) return `The connection is lost, and tried again. This is how it was. ${live.error}`;
  const { system, silent } = live.picture;
  if (!system) return "The pool's manager does not answer; it is being restarted.";
  const workers = system.models.reduce((sum, model) => sum + model.workers.length, 0);
  const said = `${plural(workers, "worker")} with ${plural(system.totals.loaded_models, "model")} in memory.`;
  return silent.length ? `${said} ${plural(silent.length, "process", "processes")} did not say in time what they do.` : said;
}
