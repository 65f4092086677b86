// Requests to this server, with the key that this browser keeps, and errors in plain words.
import { readEvents } from "./sse.js";
import { askForKey, key } from "./session.js";

export const ROOT = document.querySelector('meta[name="root"]').content;

/** What went wrong, in words to show; `status` is 0 where no answer came. */
export class ApiError extends Error {
  constructor(message, status = 0, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Where a path of the API lies, such as `/v1/models`, also below another server's path. */
export function address(path) {
  return location.origin + ROOT + path;
}

/**
 * Send a request and return its `Response`; throws `ApiError` for any status that is no success. `body` becomes JSON; `yaml` is
 * sent as it is.
 * A 401 asks for the key, once, and tries again; not if `quiet`.
 */
export async function request(path, { method, body, yaml, signal, headers = {}, quiet = false } = {}) {
  for (;;) {
    const used = key();
    const response = await send(path, {
      method: method ?? (body === undefined && yaml === undefined ? "GET" : "POST"),
      headers: {
        ...(used ? { Authorization: `Bearer ${used}` } : {}),
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(yaml === undefined ? {} : { "Content-Type": "application/yaml" }),
        ...headers,
      },
      body: body === undefined ? yaml : JSON.stringify(body),
      signal,
    });
    if (response.ok) return response;
    if (response.status === 401 && !quiet && (await askForKey(used))) continue;
    throw await refusal(response);
  }
}

/** The JSON of an answer. */
export async function json(path, options) {
  const response = await request(path, options);
  return response.json();
}

/** The events of a stream, each as `{event, data, id}` with `data` parsed; ends at `[DONE]`. */
export async function* events(path, options) {
  const response = await request(path, { ...options, headers: { Accept: "text/event-stream", ...options?.headers } });
  try {
    for await (const each of readEvents(response)) {
      if (each.data === "[DONE]") return;
      yield { ...each, data: JSON.parse(each.data) };
    }
  } catch (error) {
    throw error instanceof TypeError ? unreachable() : error;
  }
}

async function send(path, options) {
  try {
    return await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw unreachable();
  }
}

function unreachable() {
  return new ApiError("The server does not answer. Is it still running, and is this machine online?");
}

async function refusal(response) {
  let found = {};
  try {
    const said = await response.json();
    found = typeof said.error === "string" ? { message: said.error } : (said.error ?? said);
  } catch {
    // a proxy's page rather than the server's JSON
  }
  const message = found.message ?? `The server answered ${response.status} ${response.statusText}.`;
  return new ApiError(message, response.status, found.code ?? found.type ?? "");
}
