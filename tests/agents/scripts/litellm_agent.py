"""A loop of calls and results over LiteLLM, which speaks each API from one function."""

import json
import sys

import litellm
from edit_file import edit_file

PROPERTIES = {name: {"type": "string"} for name in ("path", "old", "new")}
PARAMETERS = {"type": "object", "properties": PROPERTIES, "required": [*PROPERTIES]}
FUNCTION = {"name": "edit_file", "description": "Replace a text in a file.", "parameters": PARAMETERS}

for model in ("openai/coder", "openai/responses/coder", "anthropic/coder"):
    messages = [{"role": "user", "content": sys.argv[1]}]
    for _ in range(3):
        answer = litellm.completion(model=model, messages=messages, tools=[{"type": "function", "function": FUNCTION}])
        message = answer.choices[0].message
        if not message.tool_calls:
            print(message.content)
            break
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = edit_file(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
