// A request in the picture: a dot while it waits, a filled slot while it runs; who presses it sees more and may cancel it.
import { ask } from "../../lib/dialog.js";
import { h } from "../../lib/dom.js";
import { number, plural, seconds } from "../../lib/format.js";

const STATES = { parsing: "is being read", loading: "waits for its model", queued: "waits", prefill: "reads its prompt", decode: "writes", ending: "is ending" };

export function makeRequest(first, cancel) {
  let latest = first;
  const [text, unit] = [h("span", { class: "mark-text number" }), h("span", { class: "mark-text mark-unit" })];
  const share = h("span", { class: "mark-share" });
  const element = h("button", { type: "button", class: "mark", on: { click: open } }, text, unit, share);

  async function open() {
    const list = h("dl", { class: "facts" });
    const fill = () => list.replaceChildren(...facts(latest).flatMap(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
    fill();
    const timer = setInterval(fill, 500);
    const asked = { title: "Request", content: list, accept: "Cancel the request", cancel: "Close", danger: true };
    const isWanted = await ask(asked);
    clearInterval(timer);
    if (isWanted) cancel(latest);
  }

  /** `context` is how many tokens the model takes, of which the bar shows what is used. */
  function show(request, context) {
    latest = request;
    element.dataset.state = request.state;
    const writes = request.state === "decode" || request.state === "ending";
    text.textContent = writes ? number(request.completion_tokens) : "";
    unit.textContent = writes ? "tokens" : "";
    const used = context ? (request.prompt_tokens + request.completion_tokens) / context : 0;
    share.style.setProperty("width", `${Math.min(100, 100 * used).toFixed(1)}%`);
    const said = `Request of ${request.key || request.client}, ${STATES[request.state] ?? request.state}, ${plural(request.completion_tokens, "token")}, ${seconds(request.age_s)}`;
    element.setAttribute("aria-label", said);
    element.title = said;
  }
  return { element, show };
}

function facts(request) {
  return [
    ["It", STATES[request.state] ?? request.state],
    ["Model", request.model],
    ["Route", request.route],
    ["Client", request.key ? `${request.client}, key ${request.key}` : request.client],
    ["Prompt", plural(request.prompt_tokens, "token")],
    ["Answer", plural(request.completion_tokens, "token")],
    ["Age", seconds(request.age_s)],
    ["Id", h("code", {}, request.id)],
  ];
}
