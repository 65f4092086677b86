// From a conversation to the body of `POST /v1/responses`.

export const NUMBERS = ["temperature", "top_p", "max_output_tokens", "seed"];
export const EFFORTS = ["none", "low", "medium", "high"];

/** The body that asks for the answer to the last message of a path. Throws `SyntaxError` if a schema is no JSON. */
export function requestBody(settings, path) {
  const body = {
    model: settings.model,
    input: path.flatMap(items),
    background: true, // so that the answer outlives a reload of the page
    stream: true,
    store: true,
    truncation: "auto",
    return_progress: true,
  };
  if (settings.system) body.instructions = settings.system;
  for (const name of NUMBERS) if (Number.isFinite(settings[name])) body[name] = settings[name];
  if (settings.effort) body.reasoning = { effort: settings.effort };
  if (settings.schema) body.text = { format: { type: "json_schema", name: "answer", schema: readSchema(settings.schema) } };
  const tools = readTools(settings.tools);
  if (tools.length) Object.assign(body, { tools, tool_choice: settings.toolChoice || "auto" });
  return body;
}

/** A JSON Schema from what was typed. */
export function readSchema(text) {
  const schema = JSON.parse(text);
  if (schema === null || typeof schema !== "object" || Array.isArray(schema)) throw new SyntaxError("A schema is an object in braces.");
  return schema;
}

/** Functions from what was typed: a list in the form of either API, with `function` around them or without. */
export function readTools(text) {
  if (!text?.trim()) return [];
  const parsed = JSON.parse(text);
  return (Array.isArray(parsed) ? parsed : [parsed]).map((each) => {
    const { name, description, parameters, strict } = each?.function ?? each ?? {};
    if (!name) throw new SyntaxError("Each tool needs a name.");
    return { type: "function", name, description, parameters: parameters ?? { type: "object", properties: {} }, strict: strict ?? false };
  });
}

function items(message) {
  if (message.role === "user") {
    const images = (message.images ?? []).map((address) => ({ type: "input_image", image_url: address }));
    const files = (message.files ?? []).map(({ name, data }) => ({ type: "input_file", filename: name, file_data: data }));
    return [{ type: "message", role: "user", content: [...images, ...files, { type: "input_text", text: message.text }] }];
  }
  const found = [];
  if (message.text) found.push({ type: "message", role: "assistant", content: [{ type: "output_text", text: message.text }] });
  for (const call of message.calls ?? []) {
    found.push({ type: "function_call", call_id: call.id, name: call.name, arguments: call.arguments });
    found.push({ type: "function_call_output", call_id: call.id, output: call.output ?? "" });
  }
  return found;
}
