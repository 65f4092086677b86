"""OpenAI's Agents SDK with one tool, over Responses and over chat completions, whole and streamed."""

import asyncio
import sys

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool
from edit_file import edit_file
from openai import AsyncOpenAI

TOOLS = [function_tool(edit_file, strict_mode=False)]  # the scripted model cannot be held to a schema


async def main(question: str) -> None:
    agent = Agent(name="editor", instructions="Edit files.", model="coder", tools=TOOLS)
    print((await Runner.run(agent, question)).final_output)
    streamed = Runner.run_streamed(agent, question)
    async for _ in streamed.stream_events():
        pass
    print(streamed.final_output)
    chat = Agent(name="editor", model=OpenAIChatCompletionsModel("coder", AsyncOpenAI()), tools=TOOLS)
    print((await Runner.run(chat, question)).final_output)


asyncio.run(main(sys.argv[1]))
