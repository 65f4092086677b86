"""What a model's chat template shows it of calls, found by rendering marked ones."""

from __future__ import annotations

import functools
import json

from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.formats import find_format
from localai_flask.chat.prompt import template_data
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import ModelInfo

_NAMES = ("qqfirst", "qqsecond")
_ARGUMENTS = {"kkone": "vvone", "kktwo": "vvtwo"}
_ANSWERED = Message(role="assistant", content="pp")
_INFO = ModelInfo(backend="", engine_version="", context_length=0, capabilities=frozenset())


@functools.lru_cache(maxsize=64)
def shows_several_calls(template: str) -> bool:
    """Return whether a template writes all calls of a turn; some take the first one only, or refuse several."""
    if "tool_calls" not in template:
        return False
    pairs = zip(_NAMES, _ARGUMENTS.items(), strict=True)
    made = tuple(ToolCall(f"call_{name}", name, json.dumps(dict([pair]))) for name, pair in pairs)
    user = Message(role="user", content="uu")
    results = tuple(Message(role="tool", content="rr", name=call.name, tool_call_id=call.id) for call in made)
    turn = (user, Message(role="assistant", tool_calls=made))
    # Some templates take calls with their results only, others no results without an answer to them.
    return any(_shows(template, talk) for talk in (turn, (*turn, *results), (*turn, *results, _ANSWERED, user)))


def _shows(template: str, messages: tuple[Message, ...]) -> bool:
    tools = tuple(Tool(name=name, parameters={"type": "object", "properties": {}}) for name in _NAMES)
    talk = Conversation(messages=messages, tools=tools)
    try:
        text = template_data.render(
            talk, template, find_format(template), template_data.variables(talk, ModelConfig(name=""), _INFO)
        )
    except InvalidRequest:
        return False
    return all(value in text for value in _ARGUMENTS.values())
