// The official @anthropic-ai/sdk package: messages whole and streamed, tools, and errors.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const tools = [
  {
    name: "get_weather",
    description: "Get the current weather in a city",
    input_schema: { type: "object", properties: { location: { type: "string", description: "The city" } }, required: ["location"] },
  },
];
const asked = { model: "demo", max_tokens: 200, temperature: 0 };
const say = (content) => ({ ...asked, messages: [{ role: "user", content }] });

const whole = await client.messages.create(say("Say this is a test!"));
assert.equal(whole.content[0].text, "This is a test!");
assert.equal(whole.stop_reason, "end_turn");

let text = "";
const stream = client.messages.stream(say("Say this is a test!")).on("text", (delta) => (text += delta));
const message = await stream.finalMessage();
assert.equal(text, "This is a test!");
assert.equal(message.usage.output_tokens, whole.usage.output_tokens);

const called = await client.messages.stream({ ...say("What is the weather in Paris?"), tools }).finalMessage();
const use = called.content.find((block) => block.type === "tool_use");
assert.equal(called.stop_reason, "tool_use");
assert.deepEqual(use.input, { location: "Paris" });

await assert.rejects(client.messages.create({ ...say("x"), model: "nope" }), Anthropic.NotFoundError);
console.log("ok");
