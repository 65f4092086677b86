// The official openai package: chat whole and streamed, tools, and Open Responses.
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none", maxRetries: 0 });
const weather = {
  name: "get_weather",
  description: "Get the current weather in a city",
  parameters: { type: "object", properties: { location: { type: "string", description: "The city" } }, required: ["location"] },
};
const messages = [{ role: "user", content: "Say this is a test!" }];
const asked = { model: "demo", temperature: 0 };

const whole = await client.chat.completions.create({ ...asked, messages });
assert.equal(whole.choices[0].message.content, "This is a test!");

const stream = await client.chat.completions.create({ ...asked, messages, stream: true, stream_options: { include_usage: true } });
let text = "";
let usage = null;
for await (const chunk of stream) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, "This is a test!");
// What is cached depends on who asked before.
const counts = ({ prompt_tokens, completion_tokens, total_tokens }) => [prompt_tokens, completion_tokens, total_tokens];
assert.deepEqual(counts(usage), counts(whole.usage));

const runner = client.chat.completions.stream({
  ...asked,
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  tools: [{ type: "function", function: weather }],
});
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].finish_reason, "tool_calls");
assert.equal(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments).location, "Paris");

const response = await client.responses.create({ ...asked, input: "Say this is a test!" });
assert.equal(response.output_text, "This is a test!");
const events = client.responses.stream({ ...asked, input: "Say this is a test!" });
let deltas = "";
for await (const event of events) if (event.type === "response.output_text.delta") deltas += event.delta;
assert.equal(deltas, "This is a test!");
assert.equal((await events.finalResponse()).status, "completed");

await assert.rejects(client.chat.completions.create({ model: "nope", messages }), OpenAI.NotFoundError);
console.log("ok");
