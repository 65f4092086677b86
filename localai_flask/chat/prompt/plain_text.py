"""Keeps what is said in a conversation from becoming control tokens: a text that looks like `<|im_end|>` stays text.

Every place in a message where the name of a control token begins gets a mark before the template is rendered. Behind it
the marks tell which of the names in the prompt the template wrote itself. The text between two of those is tokenized as
plain text if a mark stands in it, and all other text as ever: ordinary conversations have the tokens they always had.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall

MARK = "\ufdd0"
"""A noncharacter, which no text for people contains; https://www.unicode.org/faq/private_use.html#noncharacters."""
_WRITTEN_MARK = re.compile(MARK + r"|\\ufdd0")
"""The mark, also as JSON may write it."""
_USUAL = re.compile(r"(?=(<[^<>\s]{1,64}>|\[[^\[\]\s]{1,64}\]))")
"""Where a name of the usual form may begin; names within names count too."""


class ControlNames:
    """The names of a vocabulary's control tokens, found in texts."""

    def __init__(self, names: Sequence[str]):
        # A name of one character cannot be taken apart.
        self._usual = frozenset(name for name in names if (found := _USUAL.match(name)) and found[1] == name)
        odd = sorted({name for name in names if len(name) > 1} - self._usual, key=len, reverse=True)
        self._odd = re.compile(f"(?=({'|'.join(map(re.escape, odd))}))") if odd else None

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Find the beginning and the end of every name, in no order."""
        yield from (found.span(1) for found in _USUAL.finditer(text) if found[1] in self._usual)
        if self._odd is not None:
            yield from (found.span(1) for found in self._odd.finditer(text))

    def mark(self, text: str) -> str:
        """Put a mark behind the first character of each name."""
        starts = sorted({start for start, _ in self.find(text)})
        if not starts:
            return text
        edges = [0, *(start + 1 for start in starts), len(text)]
        return MARK.join(text[begin:end] for begin, end in itertools.pairwise(edges))


@functools.lru_cache(maxsize=16)
def control_names(names: tuple[str, ...]) -> ControlNames:
    return ControlNames(names)


def mark_conversation(conversation: Conversation, names: ControlNames) -> Conversation:
    """Mark the names of control tokens in all that a client says; marks that are there already are taken out."""

    def mark(value: Any) -> Any:
        if isinstance(value, str):
            return names.mark(value.replace(MARK, ""))
        if isinstance(value, Mapping):
            return {mark(key): mark(each) for key, each in value.items()}
        return [mark(each) for each in value] if isinstance(value, list) else value

    def mark_call(call: ToolCall) -> ToolCall:
        return ToolCall(call.id, mark(call.name), mark(call.arguments))

    def mark_message(message: Message) -> Message:
        return dataclasses.replace(
            message,
            content=mark(message.content),
            name=mark(message.name),
            reasoning=mark(message.reasoning),
            tool_calls=tuple(map(mark_call, message.tool_calls)),
        )

    def mark_tool(tool: Tool) -> Tool:
        return dataclasses.replace(tool, description=mark(tool.description), parameters=mark(tool.parameters))

    return dataclasses.replace(
        conversation,
        messages=tuple(map(mark_message, conversation.messages)),
        tools=tuple(map(mark_tool, conversation.tools)),
        template_kwargs=mark(conversation.template_kwargs),
        metadata=mark(conversation.metadata),
    )


def unmark(text: str, names: ControlNames) -> tuple[str, list[tuple[int, int]]]:
    """Take the marks out of a prompt; return it, and the ranges of it in which no name is a control token."""
    pieces = _WRITTEN_MARK.split(text)
    if len(pieces) == 1:
        return text, []
    marks, at = set(), 0
    for piece in pieces[:-1]:
        at += len(piece)
        marks.add(at - 1)
    whole = "".join(pieces)
    own = sorted(span for span in names.find(whole) if span[0] not in marks)
    edges = [(0, 0), *own, (len(whole), len(whole))]
    gaps = ((end, begin) for (_, end), (begin, _) in itertools.pairwise(edges))
    ordered = sorted(marks)
    return whole, [
        (begin, end) for begin, end in gaps if bisect.bisect_left(ordered, begin) < bisect.bisect_left(ordered, end)
    ]
