"""A request's parameters in the words of openvino-genai."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import Any

from openvino_genai import GenerationConfig, StructuredOutputConfig

from localai_flask.errors import UnsupportedParameter
from localai_flask.sampling_params import SamplingParams

TAKEN = frozenset(
    (
        *("min_p", "repeat_penalty", "frequency_penalty", "presence_penalty", "min_tokens", "ignore_eos"),
        *("stop_token_ids", "include_stop_str_in_output", "t_max_predict_ms", "top_logprobs"),
    )
)
"""What this engine takes beside what all do."""
SEEDS = 1 << 32
NO_END = -1


def check_logprobs(params: SamplingParams) -> None:
    """Raise `UnsupportedParameter` if a request asks for the log-probabilities of tokens that were not chosen."""
    if params.top_logprobs:
        raise UnsupportedParameter(
            "The openvino backend knows the log-probabilities of the chosen tokens only; leave `top_logprobs` out, or "
            "choose a model of another backend, such as llama-cpp.",
            param="top_logprobs",
        )


def generation_config(
    params: SamplingParams, limit: int, ends: Collection[int], form: StructuredOutputConfig | None
) -> GenerationConfig:
    """Make what the library wants for one request of at most `limit` tokens; `ends` are those that end a text.

    Greedy is said in one way, as the library refuses a `top_p` of 0 and a `min_p` of 1. Stop strings are not for it:
    what they hold back, and where the text ends, is the same for all engines.
    """
    wanted: dict[str, Any] = {
        "max_new_tokens": limit,
        "apply_chat_template": False,
        "repetition_penalty": params.repeat_penalty,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "logprobs": int(params.top_logprobs is not None),
    }
    if not is_greedy(params):
        seed = params.seed if params.seed >= 0 else secrets.randbelow(SEEDS)
        wanted |= {
            "do_sample": True,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "min_p": params.min_p,
            "rng_seed": seed % SEEDS,
        }
        if params.top_k > 0:
            wanted["top_k"] = params.top_k
    if form is not None:
        wanted["structured_output_config"] = form
    stops = {*ends} if params.ignore_eos else {*ends, *params.stop_token_ids}
    # The library never chooses a stop token before this many.
    wanted["min_new_tokens"] = min(limit if params.ignore_eos else params.min_tokens, limit)
    made = GenerationConfig(**wanted, eos_token_id=min(stops, default=NO_END))
    made.stop_token_ids = stops
    return made


def is_greedy(params: SamplingParams) -> bool:
    """Return whether a request always wants the likeliest token."""
    return params.temperature == 0 or params.top_p == 0 or params.top_k == 1 or params.min_p == 1
