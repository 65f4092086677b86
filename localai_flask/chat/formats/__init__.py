"""How models write their tool calls: one entry for each syntax that can be read back, found by a template's words."""

from __future__ import annotations

import functools

from localai_flask.chat.formats import harmony, hermes, literal_calls, named_calls, object_calls, tagged_calls
from localai_flask.chat.formats.base import CallSyntax, ToolFormat

_FOUND_BY: tuple[tuple[tuple[str, ...], ToolFormat], ...] = (
    (("<|channel|>", "<|start|>assistant", "functions."), harmony.HARMONY),
    (("｜DSML｜", "function_calls"), tagged_calls.DEEPSEEK_TAGS),
    (("｜DSML｜",), tagged_calls.DEEPSEEK_V4),
    (("<｜tool▁calls▁begin｜>", "```json"), named_calls.DEEPSEEK_R1),
    (("<｜tool▁calls▁begin｜>",), named_calls.DEEPSEEK),
    (("<|tool_calls_section_begin|>",), named_calls.KIMI),
    (("<|tool_call:begin|>",), named_calls.SOLAR),
    (("atem:", "invoke"), tagged_calls.MUSE),
    (("<minimax:tool_call>",), tagged_calls.MINIMAX),
    (("]<]minimax[>[",), tagged_calls.MINIMAX_M3),
    (("<seed:tool_call>",), tagged_calls.SEED),
    (("<tool_sep", "arg_key", "opensource"), tagged_calls.HUNYUAN),
    (("<arg_key>", "<tool_call>"), tagged_calls.GLM),
    (("<function=", "<parameter=", "<tool_call>"), tagged_calls.QWEN_CODER),
    (("<param name=", "<function name="), tagged_calls.MINICPM),
    (("[TOOL_CALLS]", "[ARGS]"), named_calls.MISTRAL),
    (("[TOOL_CALLS]",), named_calls.MISTRAL_LISTED),
    ((">>>all", ">>>"), named_calls.FUNCTIONARY),
    (("<|START_ACTION|>", "tool_name"), object_calls.COMMAND_R),
    (("Action:", "```json", "tool_name"), object_calls.COMMAND_R_PLUS),
    (("<|tool_call_start|>",), literal_calls.LFM2),
    (("<|tool_list_start|>",), literal_calls.LFM2),
    (("List of tools: ",), literal_calls.LFM2),
    (("<|tool_call>", "call:"), literal_calls.GEMMA4),
    (("<|tools_prefix|>",), object_calls.APERTUS),
    (("<|function_call|>",), object_calls.GIGACHAT),
    (("functools[",), object_calls.FIREFUNCTION),
    (("<TOOLCALL>",), object_calls.NEMOTRON),
    (("<tool_calls>", "<beginning_of_sentence>"), object_calls.MINIMAX_M1),
    (("<tool_calls>", '"arguments"'), object_calls.APRIEL),
    (("<|tool_call|>", "JSON list"), object_calls.GRANITE),
    (("<tool_call>",), hermes.FORMAT),
    (("<function=", "</function>"), named_calls.FUNCTION),
    (("<|python_start|>",), literal_calls.LLAMA4),
    (("<|header_start|>",), literal_calls.LLAMA4),
    (('{"name": ', '"parameters": ', "<|start_header_id|>"), object_calls.LLAMA),
)
"""The words of a template that all have to be there; the first entry counts, so the peculiar ones come first."""

TOOL_FORMATS: dict[str, ToolFormat] = {form.name: form for _, form in _FOUND_BY}


@functools.lru_cache(maxsize=64)
def find_format(template: str) -> ToolFormat | None:
    """Find how a model with this chat template writes its calls; None if the template has no place for tools."""
    if "tools" not in template:
        return None
    return next((form for words, form in _FOUND_BY if all(word in template for word in words)), None)


__all__ = ["TOOL_FORMATS", "CallSyntax", "ToolFormat", "find_format"]
