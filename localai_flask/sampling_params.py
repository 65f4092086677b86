"""How tokens are chosen and when to stop: every parameter's one declaration, with its range and its meaning.

The keys of a model's YAML (`config.model`) and the fields of requests (`api.request.sampling_fields`) are derived from
it, so that a new parameter is a line here and its effect in the engines.
"""

from __future__ import annotations

import functools
import time
import typing
from typing import Annotated, Any

import msgspec
from msgspec import Meta, inspect

from localai_flask.generation import Adapter, Constraint, ThinkingBudget

MOST_TEXTS = 1000
"""How many texts a list such as `stop` may have."""
LONGEST_TEXTS = 64 * 1024
"""How many bytes they may have together."""
MOST_IDS = 20_000
MOST_BREAKERS = 32
SAMPLERS = (
    *("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature"),
    *("mirostat", "adaptive_p"),
)
"""The names that llama.cpp has for samplers, in its order."""

Text = Annotated[str, Meta(min_length=1)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]


def _about(said: str, **bounds: Any) -> Meta:
    return Meta(description=said, **bounds)


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """Every value is already merged from YAML and request; what has a description is for either to say.

    What holds where neither says is not decided here but in `config.sampling`. `text_bias` is `logit_bias` for the
    tokens of texts. `top_logprobs` None means: no log-probabilities; `prompt_logprobs` asks for the prompt's as well,
    `logprob_token_ids` for those of these tokens beside the best ones.
    With `prompt_only` nothing of what is written is wanted, as the prompt is only to be computed and kept.
    `preserved` names control tokens that are to be shown in the text, where the vocabulary has them. For `keep_s`
    seconds the cache is to keep the prompt, though others go. `adapters` change the model's weights,
    in place of those that it was loaded with (None: these).
    """

    temperature: Annotated[float, _about("Divides the logits; 0: the likeliest token.", ge=0, le=100)] = 0.9
    top_p: Annotated[float, _about("Keeps the likeliest tokens up to this probability; 1: off.", ge=0, le=1)] = 0.95
    top_k: Annotated[int, _about("Keeps the likeliest tokens; 0 and -1: off.", ge=-1)] = 40
    min_p: Annotated[float, _about("Keeps tokens with this part of the likeliest one's probability.", ge=0, le=1)] = 0.0
    typical_p: Annotated[float, _about("Keeps the tokens that surprise as expected; 1: off.", ge=0, le=1)] = 1.0
    top_n_sigma: Annotated[
        float, _about("Keeps logits this many standard deviations below the highest; -1: off.", ge=-1, le=1000)
    ] = -1.0
    xtc_probability: Annotated[float, _about("How often the tokens at the top are removed.", ge=0, le=1)] = 0.0
    xtc_threshold: Annotated[float, _about("From which probability a token is at the top.", ge=0, le=1)] = 0.1
    dynatemp_range: Annotated[float, _about("How far the temperature follows the entropy.", ge=0, le=100)] = 0.0
    dynatemp_exponent: Annotated[float, _about("How it follows the entropy.", ge=0, le=100)] = 1.0
    mirostat: Annotated[int, _about("Keeps the surprise near a target; 0: off, or its version.", ge=0, le=2)] = 0
    mirostat_tau: Annotated[float, _about("That target, in bits.", ge=0, le=1000)] = 5.0
    mirostat_eta: Annotated[float, _about("How fast Mirostat learns.", ge=0, le=1000)] = 0.1
    adaptive_target: Annotated[float, _about("Prefers tokens near this probability; -1: off.", ge=-1, le=1)] = -1.0
    adaptive_decay: Annotated[float, _about("How long adaptive-p remembers.", ge=0, le=0.99)] = 0.9
    dry_multiplier: Annotated[float, _about("Lowers what would continue a repetition; 0: off.", ge=0, le=1000)] = 0.0
    dry_base: Annotated[float, _about("How fast that grows with the repetition.", ge=1, le=1000)] = 1.75
    dry_allowed_length: Annotated[int, _about("How long a repetition may be.", ge=0)] = 2
    dry_penalty_last_n: Annotated[int, _about("How many of the last tokens DRY searches; -1: all.", ge=-1)] = -1
    dry_sequence_breakers: Annotated[
        tuple[str, ...], _about("Over which texts no repetition reaches.", max_length=MOST_BREAKERS)
    ] = ("\n", ":", '"', "*")
    repeat_penalty: Annotated[float, _about("Divides logits of tokens that occurred; 1: off.", ge=0.01, le=100)] = 1.0
    repeat_last_n: Annotated[int, _about("How many of the last tokens penalties look at; -1: all.", ge=-1)] = 64
    frequency_penalty: Annotated[float, _about("Lowers tokens each time they occurred.", ge=-2, le=2)] = 0.0
    presence_penalty: Annotated[float, _about("Lowers tokens that occurred.", ge=-2, le=2)] = 0.0
    no_repeat_ngram_size: Annotated[
        int, _about("No sequence of this many tokens comes twice, the prompt's included; 0: off.", ge=0, le=100)
    ] = 0
    samplers: Annotated[
        tuple[str, ...], _about("Which of llama.cpp's samplers run, in this order; none: all, in its own.")
    ] = ()
    seed: Annotated[int, _about("The same one repeats an answer; -1: a fresh one for each request.")] = -1
    max_tokens: Annotated[int, _about("How many tokens the answer may have; 0: until the context is full.", ge=0)] = 0
    min_tokens: Annotated[int, _about("How many tokens it has before a token that ends it may come.", ge=0)] = 0
    t_max_predict_ms: Annotated[
        int, _about("Milliseconds from the first token on, after which the answer is cut; 0 and -1: no limit.", ge=-1)
    ] = 0
    ignore_eos: Annotated[bool, _about("The tokens that end a text are never chosen.")] = False
    cache_prompt: Annotated[bool, _about("false: nothing is used that was computed for other requests.")] = True
    keep_s: float = 0.0
    stop: Annotated[tuple[Text, ...], _about("The answer ends before the first of these texts.")] = ()
    stop_token_ids: Annotated[
        tuple[TokenId, ...], _about("The answer ends before the first of these tokens.", max_length=MOST_IDS)
    ] = ()
    include_stop_str_in_output: Annotated[bool, _about("What has ended the answer stays in it.")] = False
    bad_words: Annotated[tuple[Text, ...], _about("Texts that the answer never has.", max_length=MOST_TEXTS)] = ()
    banned_strings: Annotated[
        tuple[Text, ...], _about("The same, whether in capitals or not (in ASCII).", max_length=MOST_TEXTS)
    ] = ()
    allowed_token_ids: Annotated[
        tuple[TokenId, ...], _about("No other tokens are chosen; none: any.", max_length=MOST_IDS)
    ] = ()
    logit_bias: Annotated[dict[int, float], _about("What to add to logits, by token ids or by texts.")] = {}
    text_bias: dict[str, float] = {}
    top_logprobs: int | None = None
    prompt_logprobs: bool = False
    prompt_only: bool = False
    logprob_token_ids: tuple[int, ...] = ()
    preserved: tuple[str, ...] = ()
    constraint: Constraint | None = None
    thinking: ThinkingBudget | None = None
    adapters: tuple[Adapter, ...] | None = None

    def is_over(self, first_token_at: float) -> bool:
        """Return whether an answer has had its time, whose first token came then on the clock of `monotonic`."""
        return bool(self.t_max_predict_ms) and time.monotonic() - first_token_at >= self.t_max_predict_ms / 1000


OWN_FORM = frozenset({"stop", "logit_bias"})
"""What YAML and requests write in another form than engines read."""


@functools.cache
def wanted_types() -> dict[str, Any]:
    """Return the annotated types of what YAML and requests may say, by name."""
    hints = typing.get_type_hints(SamplingParams, include_extras=True)
    return {name: kind for name, kind in hints.items() if typing.get_origin(kind) is Annotated}


@functools.cache
def wanted_fields() -> dict[str, inspect.Field]:
    """Return the same as msgspec describes it, in which `Metadata` has the description."""
    info = inspect.type_info(SamplingParams)
    assert isinstance(info, inspect.StructType)
    return {field.name: field for field in info.fields if field.name in wanted_types()}


def description_of(name: str) -> str:
    """Return what a parameter means, in a sentence."""
    (meta,) = (each for each in wanted_types()[name].__metadata__ if isinstance(each, Meta))
    return meta.description or ""
