// One request as curl, Python and JavaScript: with the official client where there is one for it, else plain.
import { ROOT } from "../../lib/api.js";

export const LANGUAGES = [
  { name: "curl", label: "curl", colours: "bash", write: curl },
  { name: "python", label: "Python", colours: "python", write: python },
  { name: "javascript", label: "JavaScript", colours: "javascript", write: javascript },
];
const VARIABLE = "LOCALAI_API_KEY";

/** `call` is `{method, path, body, sdk}`; `hasKey` says whether this server wants a key, which is read from a variable. */
function curl(call, hasKey) {
  const parts = [`curl ${quoted(base() + call.path)}`];
  if (call.method !== (call.body === undefined ? "GET" : "POST")) parts[0] = `curl -X ${call.method} ${quoted(base() + call.path)}`;
  if (hasKey) parts.push(`-H "Authorization: Bearer $${VARIABLE}"`);
  if (call.body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d '${json(call.body).replaceAll("'", `'\\''`)}'`);
  if (call.body?.stream) parts[0] = parts[0].replace("curl", "curl -N");
  return parts.join(" \\\n  ");
}

function quoted(address) {
  return /[?&]/.test(address) ? `'${address}'` : address;
}

function base() {
  return location.origin + ROOT;
}

/** A value as JSON, over as few lines as are read well. */
export function json(value) {
  return layOut(value, { open: "{", close: "}", key: (name) => `${JSON.stringify(name)}: `, value: JSON.stringify }, 0);
}

/** Write a value over as few lines as are read well; the words for values differ between languages. */
function layOut(value, words, depth) {
  const flat = oneLine(value, words);
  if (flat.length + 2 * depth < 72 || typeof value !== "object" || value === null) return flat;
  const step = words.indent ?? "  ";
  const [outer, inner] = [step.repeat(depth), step.repeat(depth + 1)];
  const isList = Array.isArray(value);
  const entries = isList ? value.map((each) => layOut(each, words, depth + 1)) : Object.entries(value).map(([name, each]) => words.key(name) + layOut(each, words, depth + 1));
  const [open, close] = isList ? ["[", "]"] : [words.open, words.close];
  return `${open}\n${entries.map((each) => inner + each).join(",\n")}${words.lastComma ?? ""}\n${outer}${close}`;
}

function oneLine(value, words) {
  if (Array.isArray(value)) return `[${value.map((each) => oneLine(each, words)).join(", ")}]`;
  if (typeof value !== "object" || value === null) return words.value(value);
  const [open, close] = words.open === "{" && words.spaced ? ["{ ", " }"] : [words.open, words.close];
  const entries = Object.entries(value).map(([name, each]) => words.key(name) + oneLine(each, words));
  return entries.length ? open + entries.join(", ") + close : "{}";
}

const PYTHON = { open: "{", close: "}", key: (name) => `${JSON.stringify(name)}: `, value: pythonValue, lastComma: ",", indent: "    " };

function pythonValue(value) {
  if (value === null) return "None";
  return typeof value === "boolean" ? (value ? "True" : "False") : JSON.stringify(value);
}

function keywords(body) {
  return Object.entries(body ?? {})
    .map(([name, value]) => `\n    ${name}=${layOut(value, PYTHON, 0).replaceAll("\n", "\n    ")},`)
    .join("");
}

function python(call, hasKey) {
  const key = hasKey ? `os.environ["${VARIABLE}"]` : `"none"`;
  const imports = hasKey ? "import os\n\n" : "";
  const [library, ...method] = (call.sdk ?? "").split(".");
  if (!library) {
    const head = hasKey ? `, headers={"Authorization": f"Bearer {${key.replaceAll('"', "'")}}"}` : "";
    const body = call.body === undefined ? "" : `, json=${layOut(call.body, PYTHON, 0)}`;
    return `${imports}import requests\n\nanswer = requests.${call.method.toLowerCase()}("${base()}${call.path}"${body}${head})\nanswer.raise_for_status()\nprint(answer.${call.path === "/metrics" ? "text" : "json()"})\n`;
  }
  const [name, address] = library === "anthropic" ? ["Anthropic", base()] : ["OpenAI", `${base()}/v1`];
  const made = keywords(call.body);
  const start = `${imports}from ${library} import ${name}\n\nclient = ${name}(base_url="${address}", api_key=${key})\n`;
  const invoked = `client.${method.join(".")}(${made}${made ? "\n" : ""})`;
  if (!call.body?.stream) return `${start}answer = ${invoked}\nprint(${pythonAnswer(call)})\n`;
  return `${start}stream = ${invoked}\nfor chunk in stream:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\n`;
}

const ANSWERS = {
  "openai.chat.completions.create": "choices[0].message",
  "openai.completions.create": "choices[0].text",
  "openai.responses.create": "output_text",
  "openai.conversations.create": "id",
  "openai.decisions.create": "answers",
  "openai.embeddings.create": "data[0].embedding",
  "anthropic.messages.create": "content[0].text",
};

function pythonAnswer(call) {
  if (call.sdk === "openai.models.list") return "[model.id for model in answer]";
  const is = ANSWERS[call.sdk];
  return `answer.${is}${is.endsWith("message") && !call.body.tools ? ".content" : is.endsWith("message") ? ".tool_calls" : ""}`;
}

const JAVASCRIPT = { open: "{", close: "}", spaced: true, key: (name) => `${/^[A-Za-z_]\w*$/.test(name) ? name : JSON.stringify(name)}: `, value: JSON.stringify, lastComma: "," };

function javascript(call, hasKey) {
  const key = hasKey ? `process.env.${VARIABLE}` : `"none"`;
  const [library, ...method] = (call.sdk ?? "").split(".");
  if (!library) {
    const wanted = call.method === "GET" ? [] : [`  method: "${call.method}",`];
    const head = [hasKey && `Authorization: \`Bearer \${${key}}\``, call.body !== undefined && `"Content-Type": "application/json"`].filter(Boolean);
    if (head.length) wanted.push(`  headers: { ${head.join(", ")} },`);
    if (call.body !== undefined) wanted.push(`  body: JSON.stringify(${layOut(call.body, JAVASCRIPT, 1)}),`);
    const given = wanted.length ? `, {\n${wanted.join("\n")}\n}` : "";
    return `const answer = await fetch("${base()}${call.path}"${given});\nconsole.log(await answer.${call.path === "/metrics" ? "text" : "json"}());\n`;
  }
  const [name, from, address] = library === "anthropic" ? ["Anthropic", "@anthropic-ai/sdk", base()] : ["OpenAI", "openai", `${base()}/v1`];
  const start = `import ${name} from "${from}";\n\nconst client = new ${name}({ baseURL: "${address}", apiKey: ${key} });\n`;
  const invoked = `await client.${method.join(".")}(${call.body === undefined ? "" : layOut(call.body, JAVASCRIPT, 0)})`;
  if (!call.body?.stream) return `${start}const answer = ${invoked};\nconsole.log(${javascriptAnswer(call)});\n`;
  return `${start}const stream = ${invoked};\nfor await (const chunk of stream) {\n  process.stdout.write(chunk.choices[0]?.delta.content ?? "");\n}\n`;
}

function javascriptAnswer(call) {
  return call.sdk === "openai.models.list" ? "answer.data.map((model) => model.id)" : pythonAnswer(call);
}
