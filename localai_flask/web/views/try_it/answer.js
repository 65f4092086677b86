// What comes back: the status, how long it took, the text that people look for, and all of it as it came.
import { ApiError, request } from "../../lib/api.js";
import { showCode } from "../../lib/code.js";
import { button, h } from "../../lib/dom.js";
import { rate, seconds } from "../../lib/format.js";
import { readEvents } from "../../lib/sse.js";

const MOST_SHOWN = 200_000;

export function makeAnswer(signal, onRunning) {
  const status = h("p", { class: "row wrap", role: "status" });
  const said = h("div", { class: "try-said", hidden: true });
  const raw = h("pre", { class: "try-raw", tabindex: "0", "aria-label": "The answer as it came" });
  const stopButton = button("Stop", { icon: "stop", class: "small", hidden: true }, () => stop());
  const element = h("section", { class: "try-answer", "aria-label": "Answer", hidden: true }, h("div", { class: "row" }, h("h3", { class: "grow" }, "Answer"), stopButton), status, said, raw);
  let running = null;

  async function run(call) {
    stop();
    const mine = (running = new AbortController());
    const begun = performance.now();
    element.hidden = stopButton.hidden = false;
    said.hidden = true;
    onRunning(true);
    element.scrollIntoView({ block: "nearest" });
    raw.replaceChildren();
    status.replaceChildren(h("span", { class: "faint" }, "Waiting…"));
    try {
      await receive(call, AbortSignal.any([signal, mine.signal]), begun);
    } catch (error) {
      if (error.name === "AbortError") status.replaceChildren(h("span", { class: "badge warn" }, "stopped"));
      else fail(error);
    } finally {
      if (running === mine) {
        running = null;
        stopButton.hidden = true;
        onRunning(false);
      }
    }
  }

  function fail(error) {
    const code = error instanceof ApiError && error.status ? String(error.status) : "failed";
    status.replaceChildren(h("span", { class: "badge bad" }, code), h("span", {}, error.message));
  }

  function stop() {
    running?.abort();
  }

  async function receive({ method, path, body }, signal, begun) {
    const response = await request(path, { method, body, signal });
    const type = response.headers.get("Content-Type") ?? "";
    if (type.startsWith("text/event-stream")) return receiveEvents(response, begun);
    const text = await response.text();
    tell(response.status, begun, type);
    if (!type.startsWith("application/json")) return showCode(raw, text.slice(0, MOST_SHOWN), "plaintext");
    const value = JSON.parse(text);
    show(textIn(value));
    showCode(raw, JSON.stringify(shortened(value), null, 2), "json");
  }

  async function receiveEvents(response, begun) {
    let [text, lines, tokens] = ["", "", 0];
    for await (const { event, data } of readEvents(response)) {
      lines = `${lines}${event === "message" ? "" : `event: ${event}\n`}data: ${data}\n\n`.slice(-MOST_SHOWN);
      const value = data === "[DONE]" ? {} : JSON.parse(data);
      text += value.choices?.[0]?.delta?.content ?? value.choices?.[0]?.text ?? value.delta?.text ?? (typeof value.delta === "string" ? value.delta : "");
      tokens = value.usage?.completion_tokens ?? tokens;
      show(text);
      raw.textContent = lines;
    }
    tell(response.status, begun, tokens ? rate(tokens / ((performance.now() - begun) / 1000)) : "");
  }

  function show(text) {
    said.textContent = text ?? "";
    said.hidden = !text;
  }

  function tell(code, begun, note) {
    status.replaceChildren(h("span", { class: "badge good" }, String(code)), h("span", { class: "number" }, seconds((performance.now() - begun) / 1000)), h("span", { class: "faint" }, note));
  }
  return { element, run, stop, isRunning: () => running !== null };
}

/** The text that an answer of any of the APIs is about; undefined for what is no text. */
function textIn(value) {
  const choice = value.choices?.[0];
  if (choice?.message?.tool_calls?.length) return choice.message.tool_calls.map((call) => `${call.function?.name}(${call.function?.arguments})`).join("\n");
  const output = value.output?.flatMap?.((item) => item.content ?? []).map((part) => part.text ?? "").join("");
  return choice?.message?.content ?? choice?.text ?? output ?? (Array.isArray(value.content) ? value.content.map((part) => part.text ?? "").join("") : value.prompt);
}

/** Vectors of hundreds of numbers, cut where nobody reads on. */
function shortened(value) {
  if (Array.isArray(value) && value.length > 16 && value.every((each) => typeof each === "number")) return [...value.slice(0, 8), `… ${value.length - 8} more`];
  if (Array.isArray(value)) return value.map(shortened);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, shortened(each)]));
}
