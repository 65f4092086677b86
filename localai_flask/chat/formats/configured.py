"""Calls as a model's YAML describes them under `function:`, in LocalAI's way: JSON with keys and a frame of its own."""

from __future__ import annotations

import json

from localai_flask.chat.formats import hermes, json_calls, named_calls, object_calls, tagged_calls
from localai_flask.chat.formats.base import CallSyntax, ToolFormat
from localai_flask.chat.formats.notation import (
    BlockNotation,
    CallNotation,
    JsonArguments,
    Notation,
    PlainText,
    TextPlace,
)
from localai_flask.config.functions import FunctionGrammar, FunctionOptions

PRESETS = {
    "functionary": named_calls.FUNCTION,
    "qwen3-coder": tagged_calls.QWEN_CODER,
    "qwen3.5": tagged_calls.QWEN_CODER,
    "glm-4.5": tagged_calls.GLM,
    "minimax-m2": tagged_calls.MINIMAX,
    "kimi-k2": named_calls.KIMI,
    "apriel-1.5": object_calls.APRIEL,
    "xiaomi-mimo": hermes.FORMAT,
}
"""LocalAI's names of formats (`xml_format_preset`)."""

UNKNOWN = ToolFormat("regular expressions", ())
"""Calls that regular expressions find: nobody knows how to write them."""


def configured_format(options: FunctionOptions) -> ToolFormat | None:
    """Return the format that a YAML describes; None if it leaves that to the model's template."""
    if options.is_json:
        return named_calls.FUNCTION if options.grammar.schema_type == "llama3.1" else _json_format(options)
    if options.has_patterns:
        return UNKNOWN
    return PRESETS.get(options.xml_format_preset)


def json_keys(options: FunctionOptions) -> json_calls.Keys:
    """Return the keys of a call's name and arguments."""
    name, arguments = options.function_name_key, options.function_arguments_key
    known = json_calls.KEYS
    return json_calls.Keys((name,) if name else known.names, (arguments,) if arguments else known.arguments)


def _json_format(options: FunctionOptions) -> ToolFormat:
    grammar, keys = options.grammar, json_keys(options)
    trigger = grammar.triggers[0].word if grammar.triggers else ""
    mark = (grammar.prefix if trigger in grammar.prefix else trigger).strip()
    if mark:
        syntaxes: tuple[CallSyntax, ...] = (CallSyntax(mark, json_calls.calls(keys=keys)),)
    else:
        read = json_calls.calls(must_exist=True, keys=keys)
        syntaxes = tuple(CallSyntax(char, read, not grammar.mixed_mode, reads_opening=True) for char in "{[")
    return ToolFormat(
        "json",
        syntaxes,
        notation=Notation(
            trigger=trigger,
            call=CallNotation(
                before="{" + json.dumps(options.function_name_key or "name") + ": ",
                between=f", {json.dumps(options.function_arguments_key or 'arguments')}: ",
                after="}",
                is_json=True,
            ),
            block=BlockNotation(
                opening=mark,
                joint=",\n",
                is_single=not grammar.parallel_calls,
                may_be_list=grammar.parallel_calls,
            ),
            arguments=JsonArguments(
                order=tuple(filter(None, (part.strip() for part in grammar.properties_order.split(","))))
            ),
            plain=_plain_text(grammar) if grammar.mixed_mode else None,
        ),
    )


def _plain_text(grammar: FunctionGrammar) -> PlainText:
    place = TextPlace.AROUND if grammar.expect_strings_after_json else TextPlace.BEFORE
    return PlainText(pattern=r"[^{\[]+", place=TextPlace.INSTEAD if grammar.no_mixed_free_string else place)
