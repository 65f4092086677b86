// The official ollama package: lists, chat whole and streamed, tools, a form, vectors, and what is refused.
import assert from "node:assert/strict";
import { Ollama } from "ollama";

const client = new Ollama({ host: process.argv[2] });
const messages = [{ role: "user", content: "Say this is a test!" }];
const asked = { model: "demo", options: { temperature: 0 } };

const { models } = await client.list();
assert.ok(models.some(({ name, size, digest }) => name === "demo:latest" && size > 1e6 && digest.length === 64));

const whole = await client.chat({ ...asked, messages });
assert.equal(whole.message.content, "This is a test!");
let text = "";
let last = null;
for await (const part of await client.chat({ ...asked, messages, stream: true })) {
  text += part.message.content;
  last = part;
}
assert.equal(text, "This is a test!");
assert.deepEqual([last.done, last.done_reason, last.eval_count], [true, "stop", whole.eval_count]);

const weather = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get the current weather in a city",
    parameters: { type: "object", properties: { location: { type: "string", description: "The city" } }, required: ["location"] },
  },
};
const called = await client.chat({ ...asked, messages: [{ role: "user", content: "What is the weather in Paris?" }], tools: [weather] });
assert.equal(called.message.tool_calls[0].function.arguments.location, "Paris");

const schema = { type: "object", properties: { a: { enum: [1, 2] } }, required: ["a"] };
const formed = await client.generate({ ...asked, prompt: "A number", format: schema });
assert.ok([1, 2].includes(JSON.parse(formed.response).a));

const shown = await client.show({ model: "demo" });
assert.ok(shown.capabilities.includes("tools") && shown.model_info["general.architecture"]);
await assert.rejects(client.chat({ model: "nope", messages }), { status_code: 404 });
await assert.rejects(client.push({ model: "demo" }), { status_code: 400 });
console.log("ok");
