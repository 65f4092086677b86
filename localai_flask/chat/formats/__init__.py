"""How models write their tool calls: one entry for each syntax that can be read back, found by a template's words."""

from __future__ import annotations

import functools

from localai_flask.chat.formats import harmony, hermes, literals, named, objects, tagged
from localai_flask.chat.formats.base import CallSyntax, ToolFormat, Written

_FOUND_BY: tuple[tuple[tuple[str, ...], ToolFormat], ...] = (
    (("<|channel|>", "<|start|>assistant", "functions."), harmony.HARMONY),
    (("｜DSML｜", "function_calls"), tagged.DEEPSEEK_TAGS),
    (("｜DSML｜",), tagged.DEEPSEEK_V4),
    (("<｜tool▁calls▁begin｜>", "```json"), named.DEEPSEEK_R1),
    (("<｜tool▁calls▁begin｜>",), named.DEEPSEEK),
    (("<|tool_calls_section_begin|>",), named.KIMI),
    (("<|tool_call:begin|>",), named.SOLAR),
    (("atem:", "invoke"), tagged.MUSE),
    (("<minimax:tool_call>",), tagged.MINIMAX),
    (("]<]minimax[>[",), tagged.MINIMAX_M3),
    (("<seed:tool_call>",), tagged.SEED),
    (("<tool_sep", "arg_key", "opensource"), tagged.HUNYUAN),
    (("<arg_key>", "<tool_call>"), tagged.GLM),
    (("<function=", "<parameter=", "<tool_call>"), tagged.QWEN_CODER),
    (("<param name=", "<function name="), tagged.MINICPM),
    (("[TOOL_CALLS]", "[ARGS]"), named.MISTRAL),
    (("[TOOL_CALLS]",), named.MISTRAL_LISTED),
    ((">>>all", ">>>"), named.FUNCTIONARY),
    (("<|START_ACTION|>", "tool_name"), objects.COMMAND_R),
    (("Action:", "```json", "tool_name"), objects.COMMAND_R_PLUS),
    (("<|tool_call_start|>",), literals.LFM2),
    (("<|tool_list_start|>",), literals.LFM2),
    (("List of tools: ",), literals.LFM2),
    (("<|tool_call>", "call:"), literals.GEMMA4),
    (("<|tools_prefix|>",), objects.APERTUS),
    (("<|function_call|>",), objects.GIGACHAT),
    (("functools[",), objects.FIREFUNCTION),
    (("<TOOLCALL>",), objects.NEMOTRON),
    (("<tool_calls>", "<beginning_of_sentence>"), objects.MINIMAX_M1),
    (("<tool_calls>", '"arguments"'), objects.APRIEL),
    (("<|tool_call|>", "JSON list"), objects.GRANITE),
    (("<tool_call>",), hermes.FORMAT),
    (("<function=", "</function>"), named.FUNCTION),
    (("<|python_start|>",), literals.LLAMA4),
    (("<|header_start|>",), literals.LLAMA4),
    (('{"name": ', '"parameters": ', "<|start_header_id|>"), objects.LLAMA),
)
"""The words of a template that all have to be there; the first entry counts, so the peculiar ones come first."""

TOOL_FORMATS: dict[str, ToolFormat] = {form.name: form for _, form in _FOUND_BY}


@functools.lru_cache(maxsize=64)
def find_format(template: str) -> ToolFormat | None:
    """Find how a model with this chat template writes its calls; None if the template has no place for tools."""
    if "tools" not in template:
        return None
    return next((form for words, form in _FOUND_BY if all(word in template for word in words)), None)


__all__ = ["TOOL_FORMATS", "CallSyntax", "ToolFormat", "Written", "find_format"]
