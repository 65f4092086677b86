// Markdown to elements: no HTML of the text's own, links to the web only, no images fetched, mathematics and code.
import { MarkdownIt, purifier, tex } from "../vendor/markdown.js";
import { copyButton } from "./clipboard.js";
import { h } from "./dom.js";
import { loadStyle } from "./style.js";

const TAGS = "p br hr h3 h4 h5 h6 ul ol li blockquote pre code em strong s a table thead tbody tr th td span div".split(" ");
const LONGEST_HIGHLIGHTED = 60_000;

export const markdown = new MarkdownIt({ html: false, linkify: true, breaks: false }).use(tex, { delimiters: "all", render: formula });
markdown.validateLink = (address) => /^(https?:|mailto:)/i.test(address.trim());
markdown.renderer.rules.image = (tokens, index) => {
  const { content, attrs } = tokens[index];
  const address = attrs.find(([name]) => name === "src")[1]; // fetched, it would tell its server who reads
  return `<a href="${escape(address)}">${escape(content || address)}</a>`;
};
for (const rule of ["th_open", "td_open"]) {
  markdown.renderer.rules[rule] = (tokens, index) => {
    const align = tokens[index].attrGet("style")?.replace("text-align:", ""); // styles in attributes are forbidden
    return `<${tokens[index].tag}${align ? ` class="align-${align}"` : ""}>`;
  };
}
for (const rule of ["heading_open", "heading_close"]) {
  markdown.renderer.rules[rule] = (tokens, index) => {
    const level = Math.min(6, Number(tokens[index].tag[1]) + 2); // below those of the page
    return rule === "heading_open" ? `<h${level}>` : `</h${level}>\n`;
  };
}

function formula(source, isBlock) {
  return `<span class="formula ${isBlock ? "block" : ""}">${escape(source)}</span>`;
}

function escape(text) {
  return markdown.utils.escapeHtml(text);
}

/** The elements of a Markdown text, as a fragment. */
export function render(text) {
  return renderTokens(markdown.parse(text, {}), {});
}

export function renderTokens(tokens, env) {
  const html = markdown.renderer.render(tokens, markdown.options, env);
  const fragment = purifier.sanitize(html, { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "title", "class", "start"], RETURN_DOM_FRAGMENT: true });
  for (const link of fragment.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const frame = h("div", { class: "table", tabindex: "0", role: "group", "aria-label": "Table" });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of fragment.querySelectorAll("pre")) frameCode(pre);
  return fragment;
}

/** Colour the code and set the formulas below an element; what that needs is fetched when there is any. */
export async function adorn(root) {
  const codes = [...root.querySelectorAll("pre > code")].filter((code) => languageOf(code) && code.textContent.length < LONGEST_HIGHLIGHTED);
  const formulas = [...root.querySelectorAll(".formula")];
  await Promise.all([codes.length && highlight(codes), formulas.length && setFormulas(formulas)]);
}

function languageOf(code) {
  return /\blanguage-(\S+)/.exec(code.className)?.[1] ?? "";
}

function frameCode(pre) {
  const code = pre.querySelector("code") ?? pre;
  const name = languageOf(code);
  const frame = h("div", { class: "code-frame" }, h("div", { class: "code-head" }, h("span", {}, name || "text"), copyButton(() => code.textContent, { label: "Copy the code" })));
  pre.replaceWith(frame);
  pre.tabIndex = 0; // it scrolls sideways, by the arrow keys too
  frame.append(pre);
}

async function highlight(codes) {
  const { default: hljs } = await import("../vendor/highlight.js");
  for (const code of codes) {
    const language = languageOf(code);
    if (!hljs.getLanguage(language)) continue;
    const { value } = hljs.highlight(code.textContent, { language, ignoreIllegals: true });
    code.replaceChildren(purifier.sanitize(value, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
  }
}

async function setFormulas(formulas) {
  const [{ default: katex }] = await Promise.all([import("../vendor/katex.js"), loadStyle("../vendor/katex")]);
  for (const element of formulas) {
    const displayMode = element.classList.contains("block");
    katex.render(element.textContent, element, { displayMode, throwOnError: false, trust: false, maxExpand: 500, maxSize: 40, strict: "ignore" });
    element.classList.replace("formula", "formula-set");
  }
}
