// Conversations to a file and back.
import * as store from "./store.js";

const FORMAT = "localai-flask-conversations";
const ROLES = ["user", "assistant"];

/** Save conversations, with all their versions, as a file. */
export async function exportFile(conversations) {
  const found = [];
  for (const each of conversations) found.push({ ...each, messages: await store.messagesOf(each.id) });
  const name = conversations.length === 1 ? fileName(conversations[0].title) : "conversations";
  const blob = new Blob([JSON.stringify({ format: FORMAT, version: 1, conversations: found }, null, 1)], { type: "application/json" });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Have somebody choose a file, and add its conversations; returns how many, or null if none was chosen. */
export function importFile() {
  return new Promise((resolve, reject) => {
    const input = document.createElement("input");
    input.type = "file";
    input.accept = "application/json,.json";
    input.addEventListener("change", () => input.files[0].text().then(importText).then(resolve, reject));
    input.addEventListener("cancel", () => resolve(null));
    input.click();
  });
}

/** Add the conversations of an exported text under new ids, so that nothing is written over. */
export async function importText(text) {
  const found = read(text);
  for (const { messages, ...conversation } of found) {
    const ids = new Map(messages.map((message) => [message.id, store.newId()]));
    const id = store.newId();
    const renamed = messages.map((message) => cleaned(message, { id: ids.get(message.id), conversation: id, parent: ids.get(message.parent) ?? null }));
    const { title = "", created = Date.now(), updated = Date.now(), settings = {} } = conversation;
    const leaf = ids.get(conversation.leaf) ?? renamed.at(-1)?.id ?? null;
    await store.saveAll({ id, title: String(title), created: Number(created), updated: Number(updated), settings, leaf }, renamed);
  }
  return found.length;
}

function read(text) {
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    throw new Error("This file is no JSON; import one that was exported here.");
  }
  const list = parsed?.format === FORMAT ? parsed.conversations : null;
  const isWhole = Array.isArray(list) && list.every(({ messages }) => Array.isArray(messages) && messages.every(({ role }) => ROLES.includes(role)));
  if (!isWhole) throw new Error("This file has no conversations; import one that was exported here.");
  return list;
}

function cleaned(message, names) {
  const images = (Array.isArray(message.images) ? message.images : []).filter((address) => /^data:image\/(png|jpeg|webp|gif);base64,/.test(address));
  const common = { ...names, role: message.role, text: String(message.text ?? ""), created: Number(message.created) || Date.now() };
  const files = (Array.isArray(message.files) ? message.files : []).filter(({ data }) => /^data:[^,]*;base64,/.test(data)).map(({ name, data }) => ({ name: String(name), data }));
  if (message.role === "user") return { ...common, images, files };
  const calls = (message.calls ?? []).map((call) => ({ id: String(call.id), name: String(call.name), arguments: String(call.arguments), output: call.output, sent: Boolean(call.sent) }));
  const { reasoning = "", model = "", error = null, usage = null, cut = null, asJson = false } = message;
  const times = message.times ?? { asked: 0, first: null, last: null, thought: null };
  const status = ["done", "stopped", "failed"].includes(message.status) ? message.status : "stopped";
  return { ...common, calls, reasoning, model, error, usage, cut, asJson, times, status, response: null, sequence: -1, progress: null, resumed: true };
}

function fileName(title) {
  return title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "").slice(0, 60) || "conversation";
}
