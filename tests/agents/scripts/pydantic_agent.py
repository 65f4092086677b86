"""Pydantic AI with one tool, over each of the three APIs."""

import sys

from edit_file import edit_file
from pydantic_ai import Agent, Tool

TOOLS = [Tool(edit_file, strict=False)]  # the scripted model cannot be held to a schema

for model in ("openai-chat:coder", "openai-responses:coder", "anthropic:coder"):
    print(Agent(model, tools=TOOLS).run_sync(sys.argv[1]).output)
