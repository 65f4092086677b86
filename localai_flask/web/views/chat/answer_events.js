// What the events of a response make of the message that shows it; knows neither the network nor the screen.

/** A message that waits for its answer. */
export function newAnswer({ id, conversation, parent, model, asJson }) {
  const now = Date.now();
  return {
    id, conversation, parent, model, asJson, role: "assistant", created: now, text: "", reasoning: "", calls: [],
    status: "running", response: null, sequence: -1, progress: null, error: null, usage: null,
    times: { asked: now, first: null, last: null, thought: null }, resumed: false,
  };
}

/** Change a message by one event of its response. */
export function applyEvent(message, { data }) {
  message.sequence = data.sequence_number ?? message.sequence;
  switch (data.type) {
    case "response.created":
      message.response = data.response.id;
      break;
    case "response.in_progress":
      message.progress = progressOf(data) ?? message.progress;
      break;
    case "response.output_item.added":
      if (data.item.type === "function_call") {
        noteToken(message);
        message.calls.push({ id: data.item.call_id, item: data.item.id, name: data.item.name, arguments: data.item.arguments ?? "" });
      }
      break;
    case "response.output_text.delta":
      noteToken(message);
      if (message.reasoning && message.times.thought === null) message.times.thought = Date.now();
      message.text += data.delta;
      break;
    case "response.reasoning_text.delta":
    case "response.reasoning_summary_text.delta":
      noteToken(message);
      message.reasoning += data.delta;
      break;
    case "response.function_call_arguments.delta":
      noteToken(message);
      message.calls.find((call) => call.item === data.item_id).arguments += data.delta;
      break;
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
      finish(message, data.response);
      break;
    case "error":
      message.error = data.error?.message ?? data.message;
      break;
  }
}

export function isRunning(message) {
  return message.status === "running";
}

const SHORTEST_MS = 40;
/** What came in less came at once. */

/** Tokens in a second, without the time to the first; null where it cannot be known. */
export function speedOf(message) {
  const { first, last } = message.times;
  const tokens = message.usage?.output_tokens ?? 0;
  const isHeldBack = message.calls.length > 0; // calls come when they are whole
  return message.resumed || isHeldBack || tokens < 2 || last - first < SHORTEST_MS ? null : ((tokens - 1) * 1000) / (last - first);
}

function noteToken(message) {
  const now = Date.now();
  message.times.first ??= now;
  message.times.last = now;
  message.progress = null;
}

function finish(message, response) {
  message.progress = null;
  message.usage = response.usage;
  message.dropped = response.dropped_turns ?? 0;
  if (response.status === "failed") {
    message.status = "failed";
    message.error = response.error?.message ?? message.error ?? "The model has failed.";
  } else if (response.status === "cancelled") {
    message.status = "stopped";
  } else {
    message.status = "done";
    message.cut = response.incomplete_details?.reason ?? null;
  }
}

function progressOf(data) {
  if (data.load_progress !== undefined) return data.load_progress < 1 ? { kind: "load", share: data.load_progress } : { kind: "prompt", share: 0 };
  if (data.queue_place !== undefined) return { kind: "queue", place: data.queue_place };
  const { total, processed } = data.prompt_progress ?? {};
  return total ? { kind: "prompt", share: processed / total, total } : null;
}
