"""How models write their tool calls: one entry for each syntax that can be read back, found by a template's words."""

from __future__ import annotations

import functools

from localai_flask.chat.formats import hermes, lfm2, listed, named, sections, tagged
from localai_flask.chat.formats.base import CallSyntax, Found, ParsedCall, Refused, ToolFormat, Verdict

_FOUND_BY: tuple[tuple[tuple[str, ...], ToolFormat], ...] = (
    (("｜DSML｜",), tagged.DEEPSEEK_TAGS),
    (("<｜tool▁calls▁begin｜>",), sections.DEEPSEEK),
    (("<|tool_calls_section_begin|>",), sections.KIMI),
    (("<minimax:tool_call>",), tagged.MINIMAX),
    (("<arg_key>", "<tool_call>"), tagged.GLM),
    (("<function=", "<parameter=", "<tool_call>"), tagged.QWEN_CODER),
    (("[TOOL_CALLS]",), named.MISTRAL),
    ((">>>all", ">>>"), named.FUNCTIONARY),
    (("<|START_ACTION|>", "tool_name"), listed.COMMAND_R),
    (("<|tool_call_start|>",), lfm2.LFM2),
    (("<|tool_list_start|>",), lfm2.LFM2),
    (("<TOOLCALL>",), listed.NEMOTRON),
    (("<tool_calls>", '"arguments"'), listed.APRIEL),
    (("<|tool_call|>", "JSON list"), listed.GRANITE),
    (("<tool_call>",), hermes.FORMAT),
    (("<function=", "</function>"), tagged.FUNCTION),
    (('{"name": ', '"parameters": ', "<|start_header_id|>"), named.LLAMA),
)
"""The words of a template that all have to be there; the first entry counts, so the peculiar ones come first."""

TOOL_FORMATS: dict[str, ToolFormat] = {form.name: form for _, form in _FOUND_BY}


@functools.lru_cache(maxsize=64)
def find_format(template: str) -> ToolFormat | None:
    """Find how a model with this chat template writes its calls; None if the template has no place for tools."""
    if "tools" not in template:
        return None
    return next((form for words, form in _FOUND_BY if all(word in template for word in words)), None)


__all__ = ["TOOL_FORMATS", "CallSyntax", "Found", "ParsedCall", "Refused", "ToolFormat", "Verdict", "find_format"]
