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
    def problem(self) -> tuple[str, str] | None:
        """What cannot be honoured, if anything: the key, and what to change."""
        if (self.function_name_key or "name") == (self.function_arguments_key or "arguments"):
            return "function_arguments_key", "is the key of the name too; choose another"
        return None

    def settled(self, follows_template: bool) -> tuple[FunctionOptions, dict[str, str]]:
        """Leave out of `grammar` what has no effect beside other keys, and say why, by its keys.

        Nothing of it has one where the model's own template says how calls are written.
        """
        grammar, moot = self.grammar, dict[str, str]()
        if follows_template and grammar.disable is False and grammar != FunctionGrammar():
            moot[""] = "has no effect beside `template.use_tokenizer_template`, whose template says how to write calls"
        if follows_template or grammar.disable:
            return msgspec.structs.replace(self, grammar=FunctionGrammar(disable=True)), moot
        if len(grammar.triggers) > 1:
            moot["triggers"] = "may have one word only; calls are enforced behind the first"
            grammar = msgspec.structs.replace(grammar, triggers=grammar.triggers[:1])
        if grammar.triggers and grammar.mixed_mode:
            moot["mixed_mode"] = "has no effect beside `triggers`, as text before the trigger is free anyway"
            grammar = msgspec.structs.replace(grammar, mixed_mode=False)
        if not grammar.mixed_mode:
            for key in ("no_mixed_free_string", "expect_strings_after_json"):
                if getattr(grammar, key):
                    moot[key] = "has no effect without `mixed_mode`"
                    grammar = msgspec.structs.replace(grammar, **{key: False})
        order = [part.strip() for part in grammar.properties_order.split(",")]
        name, arguments = self.function_name_key or "name", self.function_arguments_key or "arguments"
        if name in order and arguments in order and order.index(arguments) < order.index(name):
            moot["properties_order"] = (
                f"has {arguments} before {name}; {name} comes first, as it says which schema holds"
            )
        return msgspec.structs.replace(self, grammar=grammar), moot

    @property
    def patterns(self) -> dict[str, tuple[str, ...]]:
        """All regular expressions by their keys."""
        return {
            "response_regex": self.response_regex,
            "json_regex_match": self.json_regex_match,
            "argument_regex": self.argument_regex,
            "capture_llm_results": self.capture_llm_results,
            "replace_function_results": tuple(each.key for each in self.replace_function_results),
            "replace_llm_results": tuple(each.key for each in self.replace_llm_results),
        }
