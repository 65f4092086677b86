"""Harmony, the channels of GPT-OSS: analysis is thinking, final is content, a message to a function is a call.

The frames stand around plain text too: https://cookbook.openai.com/articles/openai-harmony
"""

from __future__ import annotations

import regex

from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import Body, CallSyntax, Functions, NotACall, Steps, Thinks, ToolFormat
from localai_flask.chat.formats.notation import BlockNotation, CallNotation, Notation
from localai_flask.chat.output.reasoning_marks import HARMONY_ANALYSIS, TagPair

_RECIPIENT = r"(?:\s*to=(?:functions\.)?(?P<name>[\w.\-]+))?"
_HEAD = regex.compile(
    rf"(?:<\|(?:end|call)\|>)?(?:<\|start\|>assistant)?{_RECIPIENT}\s*(?:<\|channel\|>\s*(?P<channel>\w+){_RECIPIENT}"
    r"(?:<\|channel\|>\w+)?\s*(?:<\|constrain\|>)?\s*\w*\s*)?<\|message\|>"
)
_END = regex.compile(r"<\|(?:end|call|return)\|>")
_TO_CALL = regex.compile(r"\s*(?=\{)")


def _read(body: Body, functions: Functions) -> Steps:
    found = yield from body.match(_HEAD)
    if found is None:
        if not (yield from body.match(_END)):
            raise NotACall
        return
    if found["name"] and functions:
        if not (yield from body.match(_TO_CALL)):
            raise NotACall
        yield from json_calls.named_value(body, found["name"])
        yield from body.match(_END)
    elif found["channel"] == "analysis":
        yield Thinks(HARMONY_ANALYSIS)


HARMONY = ToolFormat(
    "harmony",
    tuple(
        CallSyntax(mark, _read, reads_opening=True)
        for mark in ("<|channel|>", "<|start|>", "<|end|>", "<|call|>", "<|return|>", " to=functions.")
    ),
    preserved=("<|channel|>", "<|start|>", "<|end|>", "<|message|>", "<|constrain|>"),
    ends_thinking=True,
    frames_text=True,
    notation=Notation(
        trigger=" to=functions.",
        call=CallNotation(
            before="<|channel|>commentary to=functions.",
            between=" <|constrain|>json<|message|>",
            between_pattern=(r"(<\|channel\|>(commentary|analysis))?( json| ?<\|constrain\|>json)?<\|message\|>"),
        ),
        block=BlockNotation(is_single=True),
        text_head=r"<\|channel\|>final( ?<\|constrain\|>(json)?)?<\|message\|>",
        preface=TagPair(HARMONY_ANALYSIS.start, HARMONY_ANALYSIS.end + "<|start|>assistant"),
    ),
)
