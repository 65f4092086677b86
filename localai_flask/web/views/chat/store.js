// Conversations and their messages in this browser's database; nothing of them is kept by the server.
import { ROOT } from "../../lib/api.js";
import { openDB } from "../../vendor/idb.js";

const database = openDB(`localai-flask${ROOT}`, 1, {
  upgrade(db) {
    db.createObjectStore("conversations", { keyPath: "id" }).createIndex("updated", "updated");
    const messages = db.createObjectStore("messages", { keyPath: "id" });
    messages.createIndex("conversation", "conversation");
    messages.createIndex("status", "status");
  },
});

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12)); // randomUUID is for HTTPS and localhost alone
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newConversation(settings) {
  const now = Date.now();
  return { id: newId(), title: "", created: now, updated: now, leaf: null, settings };
}

/** All conversations, the last used first. */
export async function conversations() {
  return (await (await database).getAllFromIndex("conversations", "updated")).reverse();
}

export async function conversation(id) {
  return (await database).get("conversations", id);
}

export async function saveConversation(conversation) {
  await (await database).put("conversations", conversation);
}

export async function messagesOf(conversationId) {
  return (await database).getAllFromIndex("messages", "conversation", conversationId);
}

export async function message(id) {
  return (await database).get("messages", id);
}

export async function saveMessage(message) {
  await (await database).put("messages", message);
}

/** Save a conversation with messages in one transaction: all of it, or nothing. */
export async function saveAll(conversation, messages) {
  const transaction = (await database).transaction(["conversations", "messages"], "readwrite");
  transaction.objectStore("conversations").put(conversation);
  for (const each of messages) transaction.objectStore("messages").put(each);
  await transaction.done;
}

export async function deleteConversation(id) {
  const transaction = (await database).transaction(["conversations", "messages"], "readwrite");
  transaction.objectStore("conversations").delete(id);
  for (const key of await transaction.objectStore("messages").index("conversation").getAllKeys(id)) {
    transaction.objectStore("messages").delete(key);
  }
  await transaction.done;
}

/** The messages that were being answered when the page was left. */
export async function unfinished() {
  return (await database).getAllFromIndex("messages", "status", "running");
}

/** The ids of conversations in which a text stands, in any case. */
export async function search(text) {
  const wanted = text.toLowerCase();
  const found = new Set();
  for (const each of await conversations()) if (each.title.toLowerCase().includes(wanted)) found.add(each.id);
  for await (const { value } of (await database).transaction("messages").store) {
    if (!found.has(value.conversation) && value.text.toLowerCase().includes(wanted)) found.add(value.conversation);
  }
  return found;
}
