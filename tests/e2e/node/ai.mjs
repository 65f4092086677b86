// Vercel's ai package over each of the three API families.
import assert from "node:assert/strict";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { jsonSchema, streamText, tool } from "ai";

const baseURL = `${process.argv[2]}/v1`;
const families = {
  chat: createOpenAICompatible({ name: "local", baseURL, includeUsage: true })("demo"),
  messages: createAnthropic({ baseURL, apiKey: "none" })("demo"),
  responses: createOpenAI({ baseURL, apiKey: "none" }).responses("demo"),
};
const get_weather = tool({
  description: "Get the current weather in a city",
  inputSchema: jsonSchema({
    type: "object",
    properties: { location: { type: "string", description: "The city" } },
    required: ["location"],
    additionalProperties: false,
  }),
});
const fail = ({ error }) => {
  throw error;
};

for (const [family, model] of Object.entries(families)) {
  const asked = { model, temperature: 0, maxOutputTokens: 200, maxRetries: 0, onError: fail };
  const plain = streamText({ ...asked, prompt: "Say this is a test!" });
  let text = "";
  for await (const delta of plain.textStream) text += delta;
  assert.equal(text, "This is a test!", family);
  assert.equal(await plain.finishReason, "stop", family);
  assert.ok((await plain.usage).outputTokens > 3, family);

  const calling = streamText({ ...asked, prompt: "What is the weather in Paris?", tools: { get_weather } });
  const [call] = await calling.toolCalls;
  assert.deepEqual(call.input, { location: "Paris" }, family);
  assert.equal(await calling.finishReason, "tool-calls", family);
}
console.log("ok");
