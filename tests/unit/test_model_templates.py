"""Every chat template that llama.cpp ships, on every kind of conversation, and beside Hugging Face's own rendering.

They are not copied into this repository: `LLAMA_CPP_TEMPLATES` names the folder, which lies in llama-cpp-python's
source distribution at vendor/llama.cpp/models/templates.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.prompt.jinja import render as jinja
from localai_flask.chat.prompt.prompt import chat_prompt
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import ModelInfo

FOLDER = os.environ.get("LLAMA_CPP_TEMPLATES", "")
TEMPLATES = sorted(Path(FOLDER).glob("*.jinja")) if FOLDER else []
pytestmark = pytest.mark.skipif(
    not TEMPLATES, reason="LLAMA_CPP_TEMPLATES does not name llama.cpp's models/templates (see .ci/run)"
)

USER = Message(role="user", content="QUESTION")
SYSTEM = Message(role="system", content="INSTRUCTION")
ANSWER = Message(role="assistant", content="ANSWER")
THOUGHT = Message(role="assistant", content="ANSWER", reasoning="THOUGHT")
CALL = ToolCall("call_1", "get_weather", '{"city": "Paris", "days": 3}')
CALLING = Message(role="assistant", tool_calls=(CALL,))
RESULT = Message(role="tool", content="SUNNY", tool_call_id="call_1", name="get_weather")
TOOL = Tool(
    name="get_weather",
    description="Tells the weather.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string", "description": "Where."}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "question": {"messages": (USER,)},
    "system": {"messages": (SYSTEM, USER)},
    "turns": {"messages": (USER, ANSWER, USER)},
    "reasoning": {"messages": (USER, THOUGHT, USER)},
    "no thinking": {"messages": (USER,), "enable_thinking": False},
    "effort": {"messages": (USER,), "reasoning_effort": "high"},
    "tools": {"messages": (USER,), "tools": (TOOL,)},
    "system and tools": {"messages": (SYSTEM, USER), "tools": (TOOL,)},
    "result": {"messages": (USER, CALLING, RESULT), "tools": (TOOL,)},
    "reasoned call": {
        "messages": (USER, Message(role="assistant", tool_calls=(CALL,), reasoning="THOUGHT"), RESULT, ANSWER, USER),
        "tools": (TOOL,),
    },
}


@pytest.mark.parametrize("kind", CONVERSATIONS)
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_nothing_that_was_said_is_lost(template: Path, kind: str) -> None:
    talk = Conversation(**CONVERSATIONS[kind])
    info = ModelInfo(
        backend="x",
        engine_version="1",
        context_length=1,
        capabilities=frozenset(),
        chat_template=template.read_text(encoding="utf-8"),
        bos_token="<s>",
        eos_token="</s>",
    )
    text = chat_prompt(talk, ModelConfig(name="m"), info).prompt.text
    said = [message.content for message in talk.messages] + ["get_weather"] * len(talk.tools)
    if any(message.tool_calls for message in talk.messages):
        said.append("Paris")
    assert [each for each in said if each not in text] == []


@pytest.mark.parametrize("kind", ["question", "system", "turns", "reasoning", "tools", "result"])
@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_the_same_as_hugging_face(template: Path, kind: str) -> None:
    render = pytest.importorskip("transformers.utils.chat_template_utils").render_jinja_template
    source = template.read_text(encoding="utf-8")
    talk = CONVERSATIONS[kind]
    messages = [_as_json(message) for message in talk["messages"]]
    variables = {
        "tools": [tool.definition for tool in talk.get("tools", ())] or None,
        "bos_token": "<s>",
        "eos_token": "",
    }
    try:
        expected = render([messages], chat_template=source, add_generation_prompt=True, **variables)[0][0]
    except Exception as error:
        pytest.skip(f"Hugging Face cannot render it: {error}")
    data = {**variables, "messages": messages, "documents": None, "add_generation_prompt": True}
    assert jinja.render(source, data) == expected


def _as_json(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning:
        turn |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    if message.tool_calls:
        function = {"name": CALL.name, "arguments": {"city": "Paris", "days": 3}}
        turn["tool_calls"] = [{"id": CALL.id, "type": "function", "function": function}]
    if message.role == "tool":
        turn |= {"name": message.name, "tool_call_id": message.tool_call_id}
    return turn


def test_a_refusal_stays_one() -> None:
    info = ModelInfo(
        backend="x",
        engine_version="1",
        context_length=1,
        capabilities=frozenset(),
        chat_template="{{ raise_exception('never') }}",
    )
    with pytest.raises(InvalidRequest, match="never"):
        chat_prompt(Conversation(messages=(SYSTEM, USER)), ModelConfig(name="m"), info)
