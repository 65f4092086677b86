// Bundles the page's libraries into localai_flask/web/vendor: `npm ci && npm run build` in this folder.
// built.json has the hashes by which a test finds out that they are stale.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { build } from "esbuild";

const HERE = import.meta.dirname;
const TARGET = process.argv[2] ?? join(HERE, "../localai_flask/web/vendor");
const EDITOR = ["autocomplete", "commands", "lang-yaml", "language", "lint", "state", "view"].map((name) => `@codemirror/${name}`);
const LIBRARIES = [...EDITOR, "@mdit/plugin-tex", "dompurify", "highlight.js", "idb", "katex", "markdown-it"];
const EDITOR_PARTS = ["@lezer/common", "@lezer/highlight", "@lezer/lr", "@lezer/yaml", "@marijn/find-cluster-break", "crelt", "style-mod", "w3c-keyname"];
const PARTS = [...EDITOR_PARTS, "entities", "linkify-it", "mdurl", "punycode.js", "uc.micro"];
const entries = readdirSync(join(HERE, "entries")).map((name) => join(HERE, "entries", name));

rmSync(TARGET, { recursive: true, force: true });
await build({
  entryPoints: entries,
  outdir: TARGET,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  legalComments: "none",
});
addFormulaStyle();
addLicences();
writeFileSync(join(TARGET, "built.json"), JSON.stringify({ from: inputs(), made: hashes(TARGET) }, null, 1) + "\n");

// KaTeX's style names each font in three formats, of which every browser of today reads the first.
function addFormulaStyle() {
  const dist = join(HERE, "node_modules/katex/dist");
  const css = readFileSync(join(dist, "katex.min.css"), "utf8").replace(/,url\([^)]*\.(woff|ttf)\) format\("[a-z]+"\)/g, "");
  writeFileSync(join(TARGET, "katex.css"), css);
  mkdirSync(join(TARGET, "fonts"));
  for (const name of readdirSync(join(dist, "fonts")).filter((name) => name.endsWith(".woff2"))) {
    cpSync(join(dist, "fonts", name), join(TARGET, "fonts", name));
  }
}

function addLicences() {
  const texts = [...LIBRARIES, ...PARTS].map((name) => {
    const folder = join(HERE, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
    return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), "utf8").trim() : ""}\n`;
  });
  writeFileSync(join(TARGET, "LICENSES.txt"), texts.join(`\n${"-".repeat(80)}\n\n`));
}

function inputs() {
  const files = ["build.mjs", "package.json", "package-lock.json", ...entries.map((path) => relative(HERE, path)).sort()];
  return Object.fromEntries(files.map((name) => [name, sha256(join(HERE, name))]));
}

function hashes(folder) {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
  return Object.fromEntries(paths.map((path) => [relative(folder, path), sha256(path)]));
}

function sha256(path) {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}
