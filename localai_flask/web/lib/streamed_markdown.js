// A Markdown text that grows: blocks that can no longer change are rendered once, and only the last one again.
import { h } from "./dom.js";
import { adorn, markdown, render, renderTokens } from "./markdown.js";

const LONG_BLOCK = 20_000;
/** Characters of a last block beyond which it is rendered again only when it has grown by a quarter. */
const LONGEST = 120_000;
/** Characters of a text that are rendered; the rest is shown when it is asked for. */
const PIECE = 10_000;

export class StreamedMarkdown {
  constructor() {
    this.blocks = h("div", { class: "markdown" });
    this.last = h("div", { class: "markdown last-block" });
    this.plain = h("p", { class: "plain" });
    this.more = h("div", { class: "more" });
    this.element = h("div", { class: "streamed" }, this.blocks, this.last, this.plain, this.more);
    this.#reset();
  }

  #reset() {
    this.text = "";
    this.settled = 0;
    this.rendered = 0;
    this.blocks.replaceChildren();
    this.last.replaceChildren();
    this.plain.textContent = "";
  }

  /** Show a text, of which the one before is the beginning unless it is another; `done` says that it is whole. */
  show(text, done) {
    if (!text.startsWith(this.text.slice(0, 200)) || text.length < this.text.length) this.#reset();
    this.text = text;
    const shown = text.length > LONGEST ? text.slice(0, LONGEST) : text;
    if (done || !this.#isTooSoon(shown)) this.#render(shown, done);
    this.plain.textContent = shown.slice(this.rendered);
    this.#tellRest(text.length - shown.length, done);
  }

  #isTooSoon(shown) {
    const block = this.rendered - this.settled;
    return block > LONG_BLOCK && shown.length - this.rendered < block / 4;
  }

  #render(shown, done) {
    const env = {};
    const rest = shown.slice(this.settled);
    const tokens = markdown.parse(rest, env);
    const begin = done ? tokens.length : lastBlock(tokens);
    if (begin > 0) {
      const settled = h("div", { class: "block" }, renderTokens(tokens.slice(0, begin), env));
      adorn(settled);
      this.blocks.append(...settled.childNodes);
      this.settled = done ? shown.length : this.settled + offsetOfLine(rest, tokens[begin].map[0]);
    }
    this.last.replaceChildren(renderTokens(tokens.slice(begin), env));
    this.rendered = shown.length;
  }

  #tellRest(count, done) {
    this.more.hidden = count === 0;
    if (count === 0) return;
    const size = `${Math.round(count / 1000).toLocaleString("en")},000 more characters`;
    if (!done) this.more.textContent = size;
    else this.more.replaceChildren(h("button", { type: "button", class: "button small", on: { click: () => this.#showRest() } }, `Show ${size}`));
  }

  #showRest() {
    const pieces = [];
    for (let at = LONGEST; at < this.text.length; at += PIECE) pieces.push(h("div", { class: "piece" }, this.text.slice(at, at + PIECE)));
    this.more.replaceChildren(...pieces);
  }
}

/** A Markdown text that is whole. */
export function rendered(text) {
  if (text.length > LONGEST) {
    const streamed = new StreamedMarkdown();
    streamed.show(text, true);
    return streamed.element;
  }
  const element = h("div", { class: "markdown" }, render(text));
  adorn(element);
  return element;
}

/** The index of the token that begins the last block. */
function lastBlock(tokens) {
  for (let index = tokens.length - 1; index > 0; index -= 1) {
    const { level, map, nesting } = tokens[index];
    if (level === 0 && map && nesting >= 0) return index;
  }
  return 0;
}

function offsetOfLine(text, line) {
  let offset = 0;
  for (let passed = 0; passed < line; passed += 1) offset = text.indexOf("\n", offset) + 1;
  return offset;
}
