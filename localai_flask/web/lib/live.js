// The server as it is now: one stream of pictures for all views, and what it was like in the last minutes.
//
// The stream is there only while somebody looks: it ends with the last view that follows it, and while the page is
// hidden. A picture is whole, so a stream that has broken off goes on as if nothing had happened.
import { events } from "./api.js";

const SPAN_S = 180;
const LONGEST_GAP_S = 12;
const RATE_S = 3;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 10000;

const followers = new Set();
let running = null;

export const live = { picture: null, history: [], isConnected: false, error: "" };

/** Call `show()` now and at each change of `live`, until the signal is aborted. */
export function follow(show, signal) {
  if (signal.aborted) return;
  followers.add(show);
  signal.addEventListener("abort", () => {
    followers.delete(show);
    if (!followers.size) stop();
  });
  start();
  show();
}

document.addEventListener("visibilitychange", () => (document.hidden ? stop() : start()));

function start() {
  if (running || !followers.size || document.hidden) return;
  running = new AbortController();
  keepConnected(running.signal);
}

function stop() {
  running?.abort();
  running = null;
}

async function keepConnected(signal) {
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    try {
      for await (const { event, data } of events("/api/events", { signal, quiet: true })) {
        if (event !== "picture") continue;
        pause = FIRST_PAUSE_MS;
        take(data);
      }
    } catch (error) {
      if (signal.aborted) return;
      live.error = error.message;
    }
    if (signal.aborted) return;
    live.isConnected = false;
    tell();
    await new Promise((resolve) => setTimeout(resolve, pause));
    pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
  }
}

function take(picture) {
  Object.assign(live, { picture, isConnected: true, error: "" });
  const { history } = live;
  history.push(sample(picture));
  while (history[0].at < picture.at - SPAN_S) history.shift();
  tell();
}

function tell() {
  for (const show of followers) show();
}

function sample(picture) {
  const before = live.history.findLast((each) => each.at <= picture.at - RATE_S) ?? live.history[0];
  const counted = totals(picture.counted);
  const all = Object.values(picture.states).reduce((sum, count) => sum + count, 0);
  const waiting = (picture.states.queued ?? 0) + (picture.states.loading ?? 0);
  const made = {
    at: picture.at,
    counted,
    running: all - waiting,
    waiting,
    memory: picture.system?.totals.memory_bytes ?? null,
    tokens: null,
    firstToken: null,
  };
  if (before && picture.at - before.at <= LONGEST_GAP_S && counted.generated >= before.counted.generated) {
    const seconds = picture.at - before.at;
    made.tokens = seconds > 0 ? (counted.generated - before.counted.generated) / seconds : null;
    const begun = counted.firstTokens - before.counted.firstTokens;
    if (begun > 0) made.firstToken = (counted.firstTokensS - before.counted.firstTokensS) / begun;
  }
  return made;
}

function totals(counted) {
  const sum = { generated: 0, prompt: 0, cached: 0, firstTokens: 0, firstTokensS: 0 };
  for (const each of Object.values(counted)) {
    sum.generated += each.generated_tokens;
    sum.prompt += each.prompt_tokens;
    sum.cached += each.cached_tokens;
    sum.firstTokens += each.first_tokens;
    sum.firstTokensS += each.first_tokens_s;
  }
  return sum;
}
