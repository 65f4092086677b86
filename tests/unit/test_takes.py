"""What an engine declares to take: all else is refused by the name that a request has for it."""

from __future__ import annotations

from typing import Any

import pytest

from localai_flask.backends.takes import ALL_SAMPLING, BASIC, DETAILS, HINTS, Takes, asked
from localai_flask.backends.transformers.engine import TransformersBackend
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import ALL_CONSTRAINTS, Adapter, Constraint, Prompt
from localai_flask.sampling_params import SamplingParams

TEXT = Prompt("x")
ASKED: dict[str, Any] = {
    "min_p": 0.1, "typical_p": 0.9, "top_n_sigma": 1.0, "xtc_probability": 0.1, "dynatemp_range": 0.1, "mirostat": 1,
    "adaptive_target": 0.0, "dry_multiplier": 0.8, "repeat_penalty": 1.1, "frequency_penalty": -0.1,
    "presence_penalty": 0.1, "no_repeat_ngram_size": 2, "samplers": ("top_k",), "min_tokens": 1, "t_max_predict_ms": 1,
    "ignore_eos": True, "cache_prompt": False, "stop_token_ids": (1,), "include_stop_str_in_output": True,
    "adapters": (Adapter("a.gguf"),),
    "bad_words": ("a",), "banned_strings": ("a",), "allowed_token_ids": (1,), "logit_bias": {1: 1.0},
    "text_bias": {"a": 1.0}, "top_logprobs": 0, "prompt_logprobs": True,
    "logprob_token_ids": (1,),
}  # fmt: skip


def refusal(takes: Takes, prompt: Prompt = TEXT, **sampling: Any) -> str:
    with pytest.raises(UnsupportedParameter) as caught:
        takes.check(prompt, SamplingParams(**sampling), "odd")
    return f"{caught.value.info.param}: {caught.value}"


def test_every_parameter_is_one_that_all_take_or_can_be_refused() -> None:
    assert set(ASKED) | BASIC | HINTS | DETAILS | {"constraint", "thinking"} == ALL_SAMPLING


@pytest.mark.parametrize(("name", "value"), ASKED.items(), ids=ASKED)
def test_what_is_not_declared_is_refused(name: str, value: Any) -> None:
    refused = refusal(Takes(ALL_SAMPLING - {name}), **{name: value})
    assert "is not supported by the odd backend" in refused
    Takes(frozenset({name})).check(Prompt("x"), SamplingParams(**{name: value}), "odd")


@pytest.mark.parametrize(
    "sampling",
    [
        {"top_n_sigma": 0.0}, {"top_n_sigma": -1.0}, {"adaptive_target": -0.5}, {"xtc_threshold": 0.5, "dry_base": 2.0},
        {"temperature": 0.0, "top_k": 1, "top_p": 0.5, "seed": 7, "max_tokens": 3, "stop": ("a",)},
        {"keep_s": 300.0, "preserved": ("<x>",)}, {"prompt_only": True},
    ],
)  # fmt: skip
def test_what_asks_for_nothing_more_is_taken_by_every_engine(sampling: dict[str, Any]) -> None:
    assert list(asked(SamplingParams(**sampling))) == []


def test_the_names_are_those_of_requests() -> None:
    assert refusal(Takes(), text_bias={"a": 1.0}).startswith("logit_bias: `logit_bias` with texts as keys")
    assert refusal(Takes(), prompt_logprobs=True).startswith("echo: `echo` together with `logprobs`")
    assert refusal(Takes(), ignore_eos=True, logprob_token_ids=(1,)).startswith("model: A decision, which needs")


def test_a_form_is_taken_with_all_that_it_needs() -> None:
    schema = Constraint("json_schema", "{}", "response_format")
    nested = Constraint("lark", "start: @a", "tools", trigger="<call>", parts={"a": schema})
    assert nested.needs == {"lark", "trigger", "parts", "json_schema"} < ALL_CONSTRAINTS
    Takes(constraints=frozenset({"json_schema"})).check(Prompt("x"), SamplingParams(constraint=schema), "odd")
    for missing in nested.needs:
        assert refusal(Takes(constraints=ALL_CONSTRAINTS - {missing}), constraint=nested).startswith("tools: ")
    assert "takes these kinds alone: lark, regex" in refusal(
        Takes(constraints=frozenset({"lark", "regex", "parts"})), constraint=schema
    )


def test_tokens_are_refused_by_an_engine_of_texts() -> None:
    assert "as text only" in refusal(Takes(inputs=frozenset({"text"})), Prompt(tokens=[1]))


def test_transformers_declares_what_it_does() -> None:
    takes = TransformersBackend.takes
    for name in ("mirostat", "dry_multiplier", "cache_prompt", "samplers"):
        assert f"`{name}" in refusal(takes, **{name: ASKED[name]})
