// The editor itself, around CodeMirror. It lives in a shadow tree: there its styles need no exception from the policy.
import * as cm from "../../vendor/editor.js";
import { h } from "../../lib/dom.js";
import { descriptionOf, kindOf, propertiesOf, schemaAt, valuesOf } from "./yaml_keys.js";

const CHECK_MS = 400;
const THEME = cm.EditorView.theme({
  "&": { backgroundColor: "var(--surface)", color: "var(--ink)", fontSize: "0.8125rem", height: "100%" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.6" },
  ".cm-content": { caretColor: "var(--accent)", padding: "0.5rem 0" },
  ".cm-cursor": { borderLeftColor: "var(--accent)", borderLeftWidth: "2px" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--ink-faint)", border: "0" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent) 7%, transparent)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 25%, transparent)" },
  ".cm-tooltip": { border: "1px solid var(--line)", borderRadius: "8px", backgroundColor: "var(--surface)", color: "var(--ink)", boxShadow: "var(--shadow)", overflow: "hidden" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "16em" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li": { padding: "0.2rem 0.6rem" },
  ".cm-tooltip.cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
  ".cm-completionDetail": { color: "inherit", opacity: "0.75", fontStyle: "normal", fontFamily: "var(--font)" },
  ".cm-tooltip.cm-completionInfo": { maxWidth: "22rem", padding: "0.5rem 0.7rem", fontFamily: "var(--font)" },
  ".cm-diagnostic": { padding: "0.4rem 0.6rem", fontFamily: "var(--font)", maxWidth: "28rem", whiteSpace: "normal" },
  ".cm-diagnostic-error": { borderLeftColor: "var(--danger)" },
  ".cm-diagnostic-warning": { borderLeftColor: "var(--warn)" },
});
const COLOURS = cm.HighlightStyle.define([
  { tag: [cm.tags.propertyName, cm.tags.definition(cm.tags.propertyName)], color: "var(--code-name)" },
  { tag: cm.tags.string, color: "var(--code-string)" },
  { tag: [cm.tags.number, cm.tags.bool, cm.tags.atom], color: "var(--code-number)" },
  { tag: cm.tags.keyword, color: "var(--code-keyword)" },
  { tag: cm.tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
]);

/**
 * `check(text)` returns what is wrong, as `{findings: [{line, text, is_fault}]}`; `onChecked` gets it. `onCursor` gets
 * the keys that lead to the cursor.
 */
export function makeEditor({ text, schema, check, onCursor, onChange, onChecked, onSave }) {
  const host = h("div", { class: "editor-host" });
  const root = host.attachShadow({ mode: "open" });
  const place = document.createElement("div");
  place.style.setProperty("height", "100%");
  root.append(place);
  const lint = async (view) => {
    const { findings } = await check(view.state.doc.toString());
    onChecked(findings);
    return findings.map((each) => marked(view.state.doc, each));
  };
  const told = cm.EditorView.updateListener.of((update) => {
    if (update.docChanged) onChange(update.state.doc.toString());
    if (update.docChanged || update.selectionSet) onCursor(keysAt(update.state.doc, update.state.selection.main.head));
  });
  const view = new cm.EditorView({
    doc: text,
    root,
    parent: place,
    extensions: [
      cm.keymap.of([{ key: "Mod-s", preventDefault: true, run: () => (onSave(), true) }]),
      [cm.lineNumbers(), cm.history(), cm.drawSelection(), cm.highlightActiveLine(), cm.highlightActiveLineGutter(), cm.bracketMatching()],
      [cm.indentOnInput(), cm.indentUnit.of("  "), cm.closeBrackets(), cm.yaml(), cm.syntaxHighlighting(COLOURS), THEME],
      cm.autocompletion({ override: [(context) => complete(context, schema)], icons: false }),
      [cm.linter(lint, { delay: CHECK_MS }), cm.lintGutter()],
      // Tab leaves the editor, as everywhere on the page; Enter indents.
      cm.keymap.of([...cm.closeBracketsKeymap, ...cm.completionKeymap, ...cm.lintKeymap, ...cm.historyKeymap, ...cm.defaultKeymap]),
      cm.EditorView.lineWrapping,
      cm.EditorView.contentAttributes.of({ "aria-label": "YAML of the model" }),
      told,
    ],
  });
  onCursor(keysAt(view.state.doc, 0));
  return { element: host, view, text: () => view.state.doc.toString() };
}

function marked(doc, { line, text, is_fault: isFault }) {
  const at = doc.line(Math.min(Math.max(line, 1), doc.lines));
  const from = at.from + at.text.search(/\S|$/);
  return { from, to: Math.max(from, at.to), severity: isFault ? "error" : "warning", message: text };
}

/** The keys that lead to a place, the last one that of its line; found by indentation, as people write YAML. */
export function keysAt(doc, position) {
  const line = doc.lineAt(position);
  const own = keyOf(line.text);
  return [...parentsOf(doc, line.number, own ? own.indent : indentOf(line.text)), ...(own ? [own.name] : [])];
}

function parentsOf(doc, number, indent) {
  const keys = [];
  let below = indent;
  for (let at = number - 1; at >= 1 && below > 0; at -= 1) {
    const found = keyOf(doc.line(at).text);
    if (!found || found.indent >= below) continue;
    keys.unshift(found.name);
    below = found.indent;
  }
  return keys;
}

function keyOf(text) {
  const found = /^( *)(?:- +)?([\w.-]+):(?:\s|$)/.exec(text);
  return found && { indent: found[1].length, name: found[2] };
}

function indentOf(text) {
  return /^ */.exec(text)[0].length;
}

function complete(context, schema) {
  const line = context.state.doc.lineAt(context.pos);
  const before = line.text.slice(0, context.pos - line.from);
  const value = /^( *)([\w.-]+): +([\w.-]*)$/.exec(before);
  if (value) {
    const node = schemaAt(schema, [...parentsOf(context.state.doc, line.number, value[1].length), value[2]]);
    const options = node ? valuesOf(schema, node).map((label) => ({ label, type: "constant" })) : [];
    return options.length ? { from: context.pos - value[3].length, options } : null;
  }
  const key = /^( *)([\w.-]*)$/.exec(before);
  if (!key || (!key[2] && !context.explicit)) return null;
  const parents = parentsOf(context.state.doc, line.number, key[1].length);
  const properties = propertiesOf(schema, schemaAt(schema, parents));
  if (!properties) return null;
  return { from: context.pos - key[2].length, options: Object.entries(properties).map(([name, node]) => option(schema, name, node, key[1])), validFor: /^[\w.-]*$/ };
}

function option(schema, name, node, indent) {
  const isBlock = Boolean(propertiesOf(schema, node));
  return {
    label: name,
    detail: kindOf(schema, node),
    info: descriptionOf(schema, node) || undefined,
    apply: isBlock ? `${name}:\n${indent}  ` : `${name}: `,
    boost: node.deprecated ? -50 : 0,
  };
}
