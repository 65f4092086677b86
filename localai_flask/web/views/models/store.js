// What the models view knows of the server, in one form whether an administrator asks or not.
import { json, request } from "../../lib/api.js";
import { live } from "../../lib/live.js";

/** The models that there are, by name; others than administrators see those that they may use. */
export async function fetchInstalled(isAdmin, signal) {
  if (isAdmin) {
    const found = await json("/api/models/installed", { signal });
    return found.map((model) => ({ ...model, problem: withoutFolder(model.problem), fault: withoutFolder(model.fault) }));
  }
  const { data } = await json("/v1/models", { signal });
  return data.map((model) => ({
    name: model.id,
    engine_name: model.id,
    backend: model.backend,
    description: "",
    alias: "",
    variant_of: "",
    size: model.size ?? 0,
    memory_expected: 0,
    context_length: model.context_length,
    capabilities: model.capabilities,
    problem: null,
    state: model.state,
  }));
}

/** A sentence that begins with a file's whole path, with its name alone: they all lie in the models folder. */
function withoutFolder(text) {
  return text && text.replace(/^\/.*\/(?=[^/]+\.(ya?ml|gguf)\b)/i, "");
}

/** What is known of a model in memory: `{state, progress, memory, error, running}`. */
export function memoryOf(model) {
  const found = live.picture?.system?.models.find((each) => each.id === model.engine_name);
  const state = model.problem ? "broken" : model.disabled ? "disabled" : (found?.state ?? model.state ?? "cold");
  return {
    state,
    progress: live.picture?.progress[model.engine_name],
    memory: found?.memory_bytes ?? 0,
    expected: found?.memory_expected || model.memory_expected,
    error: state === "failed" ? found?.error : null,
    running: found?.requests_running ?? 0,
    isLoaded: Boolean(found?.workers.length),
  };
}

export function load(model) {
  return request("/models/load", { body: { model: model.name } });
}

export function unload(model) {
  return request("/models/unload", { body: { model: model.name } });
}

export function remove(model) {
  return request(`/models/delete/${path(model.name)}`, { method: "POST" });
}

/** A name as a part of an address; its slashes stay. */
export function path(name) {
  return name.split("/").map(encodeURIComponent).join("/");
}
