// A tool call on the screen: its name, its arguments as they come, and the result, which whoever tries it types.
import { h, icon } from "../../lib/dom.js";

export class CallView {
  constructor(call, keep) {
    this.call = call;
    this.arguments = h("pre", { tabindex: "0" });
    this.output = h("textarea", {
      class: "input code", rows: "2", placeholder: "What the tool would return", value: call.output ?? "", "aria-label": `Result of ${call.name}`,
      on: { input: () => ((call.output = this.output.value), keep()) },
    });
    this.result = h("label", { class: "field" }, h("span", {}, "Result"), this.output);
    this.element = h(
      "details",
      { class: "call", open: true },
      h("summary", {}, icon("tool"), h("span", { class: "mono" }, call.name)),
      h("div", { class: "call-body" }, this.arguments, this.result),
    );
  }

  show(done) {
    this.arguments.textContent = done ? tidy(this.call.arguments) : this.call.arguments;
    this.result.hidden = !done;
    this.output.readOnly = Boolean(this.call.sent);
  }
}

function tidy(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
