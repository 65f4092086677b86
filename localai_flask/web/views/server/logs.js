// What the workers of one model have logged, followed as it comes.
import { json, request } from "../../lib/api.js";
import { complain } from "../../lib/dialog.js";
import { button, h } from "../../lib/dom.js";

const LINES = 300;
const LOOK_MS = 2000;

export function makeLogs(signal, wanted) {
  const select = h("select", { class: "input", "aria-label": "Model", on: { change: () => look() } });
  const text = h("div", { class: "log", role: "log", "aria-label": "Log", tabindex: "0" });
  const clear = button("Clear", { class: "quiet small", icon: "trash" }, async () => {
    await request(`/api/backend-logs/${encodeURIComponent(select.value)}/clear`, { method: "POST" }).catch(complain);
    look();
  });
  const head = h("div", { class: "row" }, h("h2", { id: "log-title", class: "grow" }, "Log"), select, clear);
  const element = h("section", { class: "card logs", "aria-labelledby": "log-title" }, head, text);
  let names = "";
  let shown = "";

  async function look() {
    if (!select.value || document.hidden) return;
    const model = select.value;
    const lines = await json(`/api/backend-logs/${encodeURIComponent(model)}?lines=${LINES}`, { signal, quiet: true }).catch(() => null);
    if (!lines || model !== select.value) return;
    const key = `${model} ${lines.length} ${lines.at(-1)?.timestamp} ${lines.at(-1)?.text}`;
    if (key === shown) return;
    shown = key;
    const isAtEnd = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    text.replaceChildren(...(lines.length ? lines.map(drawLine) : [h("p", { class: "faint" }, "This model has said nothing yet.")]));
    if (isAtEnd) text.scrollTop = text.scrollHeight;
  }

  const timer = setInterval(look, LOOK_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
  return {
    element,
    choose: (name) => {
      wanted = name;
      if ([...select.options].some((each) => each.value === name)) {
        select.value = name;
        look();
        element.scrollIntoView({ block: "nearest" });
      }
    },
    show: (picture) => {
      const known = (picture.system?.models ?? []).map((model) => model.id);
      if (known.join("\n") !== names) {
        names = known.join("\n");
        const chosen = select.value;
        select.replaceChildren(...known.map((name) => h("option", { value: name }, name)));
        select.value = known.includes(wanted) ? wanted : known.includes(chosen) ? chosen : (known[0] ?? "");
        clear.disabled = !known.length;
        look();
      }
    },
  };
}

function drawLine({ text }) {
  const found = /^\[(?:\d{4}-\d\d-\d\d )?([\d:]+)[^\]]*\] \[\d+\] \[([A-Z]+)\] (.*)$/s.exec(text);
  if (!found) return h("p", {}, text);
  const [, time, level, said] = found;
  return h("p", { class: level.toLowerCase() }, h("span", { class: "log-time" }, time), " ", level === "INFO" ? "" : h("b", {}, `${level} `), said);
}
