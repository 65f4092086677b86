"""Calls as JSON between two markers, or behind one: the markers differ, the JSON hardly does."""

from __future__ import annotations

from localai_flask.chat.formats import jsontext
from localai_flask.chat.formats.base import ToolFormat, enclosed


def _between(name: str, opening: str, closing: str, *, ends_thinking: bool = False) -> ToolFormat:
    syntax = enclosed(opening, closing, jsontext.read_calls, jsontext.starts_json, jsontext.is_inside_string)
    return ToolFormat(
        name, (syntax,), closing, preserved=(opening, closing), trailers=(closing,), ends_thinking=ends_thinking
    )


COMMAND_R = _between("command-r", "<|START_ACTION|>", "<|END_ACTION|>", ends_thinking=True)
NEMOTRON = _between("nemotron", "<TOOLCALL>", "</TOOLCALL>")
APRIEL = _between("apriel", "<tool_calls>", "</tool_calls>")

GRANITE = ToolFormat("granite", (jsontext.unclosed("<|tool_call|>"),), preserved=("<|tool_call|>",))
