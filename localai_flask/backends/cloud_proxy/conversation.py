"""Conversations on their way to a server that has chats of its own, and its answers on their way back to text.

What a model writes is text to everybody but its engine. So the model's chat template, as it is told here, writes the
conversation down as JSON, behind a mark; and thoughts and calls come back between the marks that the template names.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from localai_flask.backends.cloud_proxy.images import with_images, with_marks
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Prompt

MARK = "<|conversation elsewhere|>"
THINK, END_THINK = "<think>\n", "\n</think>\n\n"
CALL, END_CALL = "<tool_call>\n", "\n</tool_call>\n"
TEMPLATE = (
    "{# The model thinks between <think> and </think>, and writes its tool_calls, several at once, as in "
    '<tool_call>{"name": "…", "arguments": {}}</tool_call>. #}'
    + MARK
    + '{{ {"messages": messages, "tools": tools or [], "reasoning_effort": reasoning_effort or ""} | tojson }}'
)


def read_conversation(prompt: Prompt, *, images_in_results: bool = False) -> dict[str, Any] | None:
    """Return what stands behind the mark, in the shape of a request; None if a prompt is a text.

    `images_in_results` says whether the server takes images in results of tools.

    Raises `InvalidRequest` if it breaks off, as it does where the model is to continue its own last message, or if it
    is the text of a client that has written the mark.
    """
    if not prompt.text.startswith(MARK):
        return None
    try:
        said = msgspec.json.decode(with_marks(prompt).removeprefix(MARK))
        messages = [_message(each) for each in said["messages"]]
        if prompt.images:
            messages = with_images(messages, prompt.images, in_results=images_in_results)
        body: dict[str, Any] = {"messages": messages}
        return body | {name: said[name] for name in ("tools", "reasoning_effort") if said[name]}
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidRequest(
            "A model of the cloud-proxy backend cannot go on with the assistant's last message; end the messages with "
            "the user's.",
            param="messages",
        ) from error


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Write the arguments of calls as text, and leave out what other servers do not know."""
    kept = {key: value for key, value in message.items() if key not in ("thinking", "reasoning_content")}
    if calls := kept.get("tool_calls"):
        kept["tool_calls"] = [_call(call) for call in calls]
    return kept


def _call(call: dict[str, Any]) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": {**call["function"], "arguments": text}}


class ReplyText:
    """Writes the deltas of a chat as one text."""

    def __init__(self) -> None:
        self._is_thinking = False
        self._call: int | None = None
        self._has_arguments = False

    def feed(self, delta: dict[str, Any]) -> str:
        """Return the text of a delta."""
        thought = delta.get("reasoning_content") or delta.get("reasoning") or ""
        text = self._think(thought) if thought else ""
        if content := delta.get("content") or "":
            text += self.end() + content
        for part in delta.get("tool_calls") or []:
            text += self._call_part(part)
        return text

    def end(self) -> str:
        """Return what closes the thought or the call that is open."""
        text = END_THINK if self._is_thinking else ""
        if self._call is not None:
            text = f"{'' if self._has_arguments else '{}'}}}{END_CALL}"
        self._is_thinking, self._call = False, None
        return text

    def _think(self, thought: str) -> str:
        begin = "" if self._is_thinking else self.end() + THINK
        self._is_thinking = True
        return begin + thought

    def _call_part(self, part: dict[str, Any]) -> str:
        function, index, text = part.get("function") or {}, part.get("index", 0), ""
        if index != self._call:
            text = f'{self.end()}{CALL}{{"name": {json.dumps(function.get("name", ""))}, "arguments": '
            self._call, self._has_arguments = index, False
        arguments: str = function.get("arguments") or ""
        self._has_arguments = self._has_arguments or bool(arguments)
        return text + arguments
