// The prompt as the model gets it: the conversation behind its chat template, token by token.
import { json } from "../../lib/api.js";
import { button, h } from "../../lib/dom.js";
import { plural } from "../../lib/format.js";

const MOST_SHOWN = 4000;
const MARK = /^<[^<>]{1,60}>$|^\[\/?[A-Z_]{2,40}\]$/;

export function makePrompt(signal) {
  const [count, text] = [h("span", { class: "faint number", role: "status" }), h("div", { class: "prompt", tabindex: "0", role: "group", "aria-label": "The prompt, token by token", hidden: true })];
  const look = button("Show the prompt", { icon: "thought" }, show);
  const element = h("section", { class: "try-prompt", "aria-label": "Prompt" }, h("div", { class: "row wrap" }, h("h3", {}, "As the model gets it"), count, h("span", { class: "grow" }), look), text);
  let body = null;

  async function show() {
    look.disabled = true;
    try {
      const asked = { ...withoutSystem(body), stream: false };
      const { prompt } = await json("/apply-template", { body: asked, signal });
      const { tokens } = await json("/v1/tokenize", { body: { model: body.model, content: prompt, add_special: true, with_pieces: true }, signal });
      count.textContent = plural(tokens.length, "token");
      text.replaceChildren(...tokens.slice(0, MOST_SHOWN).map(drawToken));
      text.hidden = false;
      text.classList.remove("old");
    } catch (error) {
      if (error.name !== "AbortError") count.textContent = error.message;
    } finally {
      look.disabled = false;
    }
  }
  return {
    element,
    use: (next) => {
      body = next;
      if (!text.hidden) text.classList.add("old");
    },
  };
}

/** A body of Anthropic's has the system prompt beside the messages. */
function withoutSystem({ system, ...body }) {
  return system ? { ...body, messages: [{ role: "system", content: system }, ...body.messages] } : body;
}

function drawToken({ id, piece }) {
  const words = typeof piece === "string" ? piece : piece.map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  const shown = words.replaceAll("\n", "↵\n");
  return h("span", { class: MARK.test(words) ? "token mark-token" : "token", title: `token ${id}` }, shown);
}
