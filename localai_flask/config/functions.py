"""`function:` in a model's YAML: LocalAI's ways of telling how a model writes calls, and of holding it to them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

PRESETS = (
    "functionary",
    "qwen3-coder",
    "qwen3[.]5",
    "glm-4[.]5",
    "minimax-m2",
    "kimi-k2",
    "apriel-1[.]5",
    "xiaomi-mimo",
)
"""The names of formats that a YAML may choose among, as regular expressions."""


class Replacement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a regular expression matches (`key`), and what comes in its place (`value`, with Go's `${1}`)."""

    key: str
    value: str = ""


class Trigger(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A word behind which the grammar holds."""

    word: Annotated[str, Meta(pattern=r"\S")]


class FunctionGrammar(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`function.grammar:` the form of calls that a model writes as plain JSON."""

    disable: bool = False
    parallel_calls: bool = False
    mixed_mode: bool = False
    no_mixed_free_string: bool = False
    expect_strings_after_json: bool = False
    prefix: str = ""
    properties_order: str = ""
    schema_type: Annotated[str, Meta(pattern=r"^(json|llama3\.1|)$")] = ""
    triggers: tuple[Trigger, ...] = ()


class FunctionOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`function:` as a whole; with nothing set, a model's chat template tells all."""

    disable_no_action: bool = False
    no_action_function_name: str = "answer"
    no_action_description_name: str = "use this action to answer without performing any action"
    function_name_key: str = ""
    function_arguments_key: str = ""
    response_regex: tuple[str, ...] = ()
    json_regex_match: tuple[str, ...] = ()
    argument_regex: tuple[str, ...] = ()
    argument_regex_key_name: str = "key"
    argument_regex_value_name: str = "value"
    replace_function_results: tuple[Replacement, ...] = ()
    replace_llm_results: tuple[Replacement, ...] = ()
    capture_llm_results: tuple[str, ...] = ()
    disable_peg_parser: bool = False
    xml_format_preset: Annotated[str, Meta(pattern=f"^({'|'.join(PRESETS)}|)$")] = ""
    grammar: FunctionGrammar = FunctionGrammar()

    @property
    def has_patterns(self) -> bool:
        """Whether regular expressions look for calls, so that an answer has to be whole first."""
        sources = self.response_regex + self.json_regex_match + self.capture_llm_results
        return bool(sources or self.replace_function_results or self.replace_llm_results)

    @property
    def is_json(self) -> bool:
        """Whether calls are plain JSON, in a form that the YAML describes."""
        described = msgspec.structs.replace(self.grammar, disable=False) != FunctionGrammar()
        return not self.grammar.disable and (described or bool(self.function_name_key or self.function_arguments_key))

    @property
    def problem(self) -> tuple[str, str]:
        """What cannot be honoured: the key, and what to change; two empty texts if all can."""
        grammar = self.grammar
        order = [part.strip() for part in grammar.properties_order.split(",")]
        name, arguments = self.function_name_key or "name", self.function_arguments_key or "arguments"
        if name == arguments:
            return "function_arguments_key", "is the key of the name too; choose another"
        if name in order and arguments in order and order.index(arguments) < order.index(name):
            return "grammar.properties_order", f"must have {name} before {arguments}, as it tells which schema holds"
        if len(grammar.triggers) > 1:
            return "grammar.triggers", "may have one word only"
        if (grammar.no_mixed_free_string or grammar.expect_strings_after_json) and not grammar.mixed_mode:
            return "grammar", "has `no_mixed_free_string` or `expect_strings_after_json`, which need `mixed_mode`"
        if grammar.triggers and grammar.mixed_mode:
            return "grammar.triggers", "is not possible together with `mixed_mode`; choose one"
        return "", ""

    @property
    def patterns(self) -> dict[str, tuple[str, ...]]:
        """All regular expressions by their keys."""
        return {
            "function.response_regex": self.response_regex,
            "function.json_regex_match": self.json_regex_match,
            "function.argument_regex": self.argument_regex,
            "function.capture_llm_results": self.capture_llm_results,
            "function.replace_function_results": tuple(each.key for each in self.replace_function_results),
            "function.replace_llm_results": tuple(each.key for each in self.replace_llm_results),
        }
