// One message on the screen, and how it changes while it is written.
import { copyButton } from "../../lib/clipboard.js";
import { button, h, icon } from "../../lib/dom.js";
import { number, plural, rate, seconds } from "../../lib/format.js";
import { rendered, StreamedMarkdown } from "../../lib/streamed_markdown.js";
import { isRunning, speedOf } from "./answer_events.js";
import { CallView } from "./call_view.js";
import { documentChip } from "./document_chip.js";

const STEP_MS = 60;
const SHORTEST_THOUGHT_MS = 100;
const CUT = {
  max_output_tokens: "It was cut off: the limit of tokens was reached.",
  content_filter: "It was cut off by a filter.",
};

/** `acts` are what its buttons do: `edit`, `regenerate`, `branch`, `choose(version)`, `sendResults`. */
export class MessageView {
  constructor(message, acts) {
    this.message = message;
    this.acts = acts;
    this.calls = new Map();
    this.body = h("div", { class: "message-body" });
    this.foot = h("div", { class: "message-foot" });
    this.element = h("article", { class: `message ${message.role}`, "aria-label": message.role === "user" ? "You" : `Answer of ${message.model}` }, this.body, this.foot);
    this.element.dataset.id = message.id;
    if (message.role === "user") this.#showQuestion();
    else this.#showAnswer();
  }

  #showQuestion() {
    const { images = [], files = [], text } = this.message;
    if (images.length) this.body.append(h("div", { class: "images" }, images.map((address, index) => h("img", { src: address, alt: `Image ${index + 1}` }))));
    if (files.length) this.body.append(h("div", { class: "images" }, files.map(({ name }) => documentChip(name))));
    if (text) this.body.append(h("div", { class: "question" }, text));
  }

  #showAnswer() {
    const { message } = this;
    this.status = h("p", { class: "status" }, h("span", { class: "pulse", "aria-hidden": "true" }), h("span", {}));
    this.thought = h("details", { class: "thought" }, h("summary", {}, icon("thought"), h("span", {})), h("div", { class: "thought-text" }));
    this.callsElement = h("div", { class: "calls" });
    this.end = h("div", { class: "message-end" });
    this.text = h("div", { class: "answer" });
    this.body.append(this.thought, this.text, this.callsElement, this.status, this.end);
    if (isRunning(message)) this.streamed = new StreamedMarkdown();
    this.#render();
  }

  /** Show the message as it is now, soon; many changes within a step are one. */
  update() {
    if (!isRunning(this.message)) {
      clearTimeout(this.timer);
      this.timer = null;
      this.#render();
    } else {
      this.timer ??= setTimeout(() => {
        this.timer = null;
        this.#render();
      }, STEP_MS);
    }
  }

  #render() {
    const { message } = this;
    const running = isRunning(message);
    this.element.setAttribute("aria-busy", String(running));
    this.element.classList.toggle("running", running);
    this.#renderThought(running);
    this.#renderText(running);
    this.#renderCalls(running);
    this.status.hidden = !running || (message.text !== "" && !message.progress);
    this.status.lastChild.textContent = statusOf(message);
    this.end.replaceChildren(...endOf(message, this.acts));
  }

  #renderThought(running) {
    const { reasoning, times, text } = this.message;
    this.thought.hidden = !reasoning;
    if (!reasoning) return;
    const took = this.message.resumed ? 0 : times.thought - times.first;
    const thinking = running && !text;
    this.thought.classList.toggle("thinking", thinking);
    this.thought.querySelector("summary span").textContent = thinking ? "Thinking …" : took > SHORTEST_THOUGHT_MS ? `Thought for ${seconds(took / 1000)}` : "Thought";
    this.thought.lastChild.textContent = reasoning;
  }

  #renderText(running) {
    const { text, asJson } = this.message;
    if (running) {
      if (!this.streamed.element.isConnected) this.text.replaceChildren(this.streamed.element);
      this.streamed.show(asJson ? `\`\`\`\`json\n${text}` : text, false);
    } else if (asJson && isJson(text)) {
      this.text.replaceChildren(rendered(`\`\`\`\`json\n${JSON.stringify(JSON.parse(text), null, 2)}\n\`\`\`\``));
    } else if (this.streamed) {
      this.streamed.show(text, true);
    } else if (text) {
      this.text.replaceChildren(rendered(text));
    }
  }

  #renderCalls(running) {
    for (const call of this.message.calls) {
      if (!this.calls.has(call.id)) {
        this.calls.set(call.id, new CallView(call, () => this.acts.keep(this.message)));
        this.callsElement.append(this.calls.get(call.id).element);
      }
      this.calls.get(call.id).show(!running);
    }
  }

  /** Show the buttons and figures below; `versions` are the ids of its alternatives, `isLast` whether nothing follows. */
  showFoot(versions, isLast) {
    const { message, acts } = this;
    if (isRunning(message)) return this.foot.replaceChildren();
    const isAnswer = message.role === "assistant";
    this.element.classList.toggle("last", isLast);
    const waits = isAnswer && isLast && message.calls.some((call) => call.output === undefined || !call.sent);
    this.foot.replaceChildren(
      ...[
        waits && button("Send the results", { class: "primary small", icon: "send" }, () => acts.sendResults(message)),
        versions.length > 1 && versionSwitch(message, versions, acts),
        isAnswer && h("p", { class: "figures number" }, figuresOf(message)),
        h(
          "div",
          { class: "acts" },
          message.text && copyButton(() => message.text, { label: isAnswer ? "Copy the answer" : "Copy the message" }),
          isAnswer
            ? button("Answer again", { icon: "retry", bare: true, class: "quiet small" }, () => acts.regenerate(message))
            : button("Edit", { icon: "edit", bare: true, class: "quiet small" }, () => acts.edit(message, this)),
          button("Continue in a new conversation from here", { icon: "branch", bare: true, class: "quiet small" }, () => acts.branch(message)),
        ),
      ].filter(Boolean),
    );
  }
}

function versionSwitch(message, versions, acts) {
  const at = versions.indexOf(message.id);
  const go = (step) => acts.choose(versions[at + step]);
  return h(
    "div",
    { class: "versions number", role: "group", "aria-label": "Versions" },
    button("Version before", { icon: "left", bare: true, class: "quiet small", disabled: at === 0 }, () => go(-1)),
    h("span", {}, `${at + 1} / ${versions.length}`),
    button("Version after", { icon: "right", bare: true, class: "quiet small", disabled: at === versions.length - 1 }, () => go(1)),
  );
}

function statusOf({ progress, response, reasoning, calls }) {
  if (progress?.kind === "lost") return "The server does not answer; trying again …";
  if (progress?.kind === "load") return `Loading the model, ${Math.round(progress.share * 100)} %`;
  if (progress?.kind === "queue") return `Waiting in line, number ${progress.place}`;
  if (progress?.kind === "prompt" && progress.total) return `Reading the prompt, ${Math.round(progress.share * 100)} % of ${plural(progress.total, "token")}`;
  if (reasoning || calls.length) return "";
  return response === null ? "Sending …" : "Waiting for the model …";
}

function endOf({ status, error, cut, dropped }, acts) {
  const found = [];
  if (status === "failed") found.push(h("div", { class: "notice bad row wrap", role: "alert" }, h("p", { class: "grow" }, error), button("Try again", { class: "small", icon: "retry" }, () => acts.retry())));
  if (status === "stopped") found.push(h("p", { class: "hint" }, "Stopped."));
  if (cut) found.push(h("p", { class: "hint" }, CUT[cut] ?? `It was cut off: ${cut}.`));
  if (dropped) found.push(h("p", { class: "hint" }, `The model did not see the ${plural(dropped, "oldest turn")}, for which its context has no room.`));
  return found;
}

function figuresOf(message) {
  const { usage, times } = message;
  const parts = [message.model];
  if (usage) parts.push(plural(usage.output_tokens, "token"));
  const speed = speedOf(message);
  if (speed) parts.push(rate(speed));
  if (times.first && !message.resumed) parts.push(`first after ${seconds((times.first - times.asked) / 1000)}`);
  if (usage) parts.push(`prompt ${number(usage.input_tokens)}${usage.input_tokens_details?.cached_tokens ? `, ${number(usage.input_tokens_details.cached_tokens)} cached` : ""}`);
  return parts.flatMap((part, index) => (index ? [h("span", { class: "dot", "aria-hidden": "true" }, " · "), part] : [part]));
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
