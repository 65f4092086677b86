// Code with its colours; what that needs is fetched when there is any.
import { h } from "./dom.js";
import { loadStyle } from "./style.js";

const LONGEST = 60_000;

/** Show a text as code of a language; it is there at once, and coloured a moment later. */
export function showCode(pre, text, language) {
  const code = h("code", {}, text);
  pre.replaceChildren(code);
  if (text.length < LONGEST) colour(code, text, language);
}

async function colour(code, text, language) {
  loadStyle("markdown");
  const [{ default: hljs }, { purifier }] = await Promise.all([import("../vendor/highlight.js"), import("../vendor/markdown.js")]);
  const { value } = hljs.highlight(text, { language, ignoreIllegals: true });
  code.replaceChildren(purifier.sanitize(value, { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true }));
}
