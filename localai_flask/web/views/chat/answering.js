// The answers that are being made, whichever conversation is shown: begun, followed, taken up again, stopped.
//
// An answer is a background run of the server. What has come of it is saved with the number of its last event, so that a
// page that was reloaded goes on behind that event; when it has ended, the server's copy is deleted.
import { ApiError, events, request } from "../../lib/api.js";
import { applyEvent, isRunning } from "./answer_events.js";
import * as store from "./store.js";
import { answerTabs, isInHandElsewhere } from "./tabs.js";

const SAVE_MS = 600;
const LOOK_MS = 1000;
const TRIES = 6;

/** Dispatches `change` with the message as `detail`. */
export const answers = new EventTarget();
const active = new Map();
const waiting = new Set();
answerTabs((id) => active.has(id));

/** The message as it is now, if it is being answered in this page; what the database has may be older. */
export function live(message) {
  return active.get(message.id)?.message ?? message;
}

export function isAnswering(conversationId) {
  return [...active.values()].some(({ message }) => message.conversation === conversationId);
}

/** Ask for an answer, which `message` is to show. */
export function begin(message, body) {
  return run(message, (signal) => events("/v1/responses", { body, signal }));
}

/** Follow the answers that were being made when the page was left. */
export async function takeUpAll() {
  for (const message of await store.unfinished()) {
    if (active.has(message.id) || waiting.has(message.id)) continue;
    waiting.add(message.id);
    takeUp(message).finally(() => waiting.delete(message.id));
  }
}

async function takeUp(message) {
  while (message.response === null) {
    const isElsewhere = await isInHandElsewhere(message.id);
    const saved = await store.message(message.id);
    if (!saved) return;
    Object.assign(message, saved);
    if (!isRunning(message)) return tell(message);
    if (message.response === null && !isElsewhere) {
      return end(message, "The page was left before the server had the question.");
    }
    if (message.response === null) await pause(LOOK_MS);
  }
  message.resumed = true;
  await run(message, (signal) => follow(message, signal));
}

/** Stop an answer; what has come of it stays. */
export async function stop(message) {
  const running = active.get(message.id);
  if (!running) return;
  running.stopping = true;
  if (running.message.response === null) running.leaving.abort();
  else await request(`/v1/responses/${running.message.response}/cancel`, { body: {} }).catch(() => running.leaving.abort());
}

function follow(message, signal) {
  const after = message.sequence >= 0 ? `&starting_after=${message.sequence}` : "";
  return events(`/v1/responses/${message.response}?stream=true${after}`, { signal });
}

async function run(message, open) {
  const running = { message, leaving: new AbortController(), stopping: false };
  active.set(message.id, running);
  const saver = new Saver(message);
  await saver.now();
  tell(message);
  try {
    await readToEnd(running, open, saver);
  } catch (error) {
    await giveUp(running, error);
  } finally {
    active.delete(message.id);
    await saver.now();
    tell(message);
    if (message.response) request(`/v1/responses/${message.response}`, { method: "DELETE", quiet: true }).catch(() => {});
  }
}

async function readToEnd({ message, leaving }, open, saver) {
  let source = open(leaving.signal);
  for (let tries = 0; isRunning(message); tries += 1) {
    try {
      for await (const event of source) {
        const isNew = message.response === null;
        if (message.progress?.kind === "lost") message.progress = null;
        applyEvent(message, event);
        if (isNew && message.response) await saver.now();
        saver.soon();
        tell(message);
        tries = 0;
        if (!isRunning(message)) return;
      }
    } catch (error) {
      // What has no status never reached the server, or broke off, and a proxy says 5xx while the server starts anew;
      // the run goes on there without us.
      const isFinal = error.status && error.status < 500 && error.status !== 429;
      if (isFinal || error.name === "AbortError" || message.response === null || tries >= TRIES) throw error;
    }
    if (!isRunning(message)) return;
    if (tries >= TRIES) throw new ApiError("The answer broke off.");
    if (tries) {
      message.progress = { kind: "lost" };
      tell(message);
    }
    await pause(250 * 2 ** tries);
    source = follow(message, leaving.signal);
  }
}

async function giveUp({ message, stopping }, error) {
  if (error.status === 404 && message.response) {
    const saved = await store.message(message.id); // another tab has read it to its end, and deleted it
    if (saved && !isRunning(saved)) return Object.assign(message, saved);
  }
  message.status = stopping ? "stopped" : "failed";
  message.error = stopping ? null : error.message;
  message.progress = null;
}

async function end(message, reason) {
  Object.assign(message, { status: "failed", error: reason, progress: null });
  await store.saveMessage(message);
  tell(message);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function tell(message) {
  answers.dispatchEvent(new CustomEvent("change", { detail: message }));
}

class Saver {
  constructor(message) {
    this.message = message;
    this.timer = null;
  }

  soon() {
    this.timer ??= setTimeout(() => this.now(), SAVE_MS);
  }

  async now() {
    clearTimeout(this.timer);
    this.timer = null;
    await store.saveMessage(this.message);
  }
}
