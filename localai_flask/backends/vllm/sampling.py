"""From our parameters to those of the library, where it chooses as we do; chosen_rows.py chooses for the others.

Which parameters a row needs of ours is decided here, once for each request.
"""

from __future__ import annotations

from collections.abc import Collection

from vllm import SamplingParams as Wanted
from vllm.exceptions import VLLMClientError
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from localai_flask.generation import Constraint
from localai_flask.sampling_params import SamplingParams

NATIVE = frozenset(
    (
        *("min_p", "repeat_penalty", "frequency_penalty", "presence_penalty", "min_tokens", "t_max_predict_ms"),
        *("ignore_eos", "stop_token_ids", "include_stop_str_in_output", "allowed_token_ids", "logit_bias"),
        *("top_logprobs", "prompt_logprobs", "adapters"),
    )
)
"""The parameters that the library honours, or the house's output does, on any number of devices."""
CHOSEN_HERE = frozenset(("typical_p", "no_repeat_ngram_size", "bad_words", "banned_strings", "logprob_token_ids"))
"""Those for which this process has to see the logits.

The library has `logprob_token_ids` too, but takes the alternatives from other requests of the batch for it.
"""
KEY = "localai_flask"
"""Under this name a request of the library's carries the key of its row."""
NEVER = -100.0
"""The lowest that the library adds to a logit."""
SMALLEST_TOP_P = 1e-6
"""In the library a `top_p` of 0 is an error; with this one the likeliest token is left as well."""
REFUSALS = (ValueError, VLLMClientError)
"""What the library raises for a request that it finds wrong, a grammar for one."""


def is_chosen_here(params: SamplingParams) -> bool:
    """Return whether a row's tokens cannot be left to the library."""
    is_held = params.constraint is not None or params.thinking is not None
    has_rules = params.no_repeat_ngram_size or params.bad_words or params.banned_strings
    return bool(is_held or has_rules or params.typical_p < 1 or params.logprob_token_ids)


def wanted_params(params: SamplingParams, limit: int, ends: Collection[int]) -> Wanted:
    """Return the library's parameters for a row that is left to it; `limit` is how many tokens it may have."""
    return Wanted(
        temperature=params.temperature,
        top_p=max(params.top_p, SMALLEST_TOP_P),
        top_k=max(params.top_k, 0),
        min_p=params.min_p,
        repetition_penalty=params.repeat_penalty,
        frequency_penalty=params.frequency_penalty,
        presence_penalty=params.presence_penalty,
        seed=None if params.seed == -1 else params.seed % 2**63,
        min_tokens=min(params.min_tokens, limit),
        logit_bias=_biases(params, ends) or None,
        allowed_token_ids=list(params.allowed_token_ids) or None,
        structured_outputs=_structured(params.constraint),
        **_shared(params, limit, ends),
    )


def _biases(params: SamplingParams, ends: Collection[int]) -> dict[int, float]:
    """Return what is added to logits; the library's own `ignore_eos` would choose the end and write on behind it."""
    return {**params.logit_bias, **dict.fromkeys(ends if params.ignore_eos else (), NEVER)}


def forced_params(params: SamplingParams, limit: int, ends: Collection[int], key: str) -> Wanted:
    """Return the library's parameters for a row whose tokens are chosen here: it takes the likeliest."""
    return Wanted(temperature=0.0, extra_args={KEY: key}, **_shared(params, limit, ends))


def _shared(params: SamplingParams, limit: int, ends: Collection[int]) -> dict[str, object]:
    return {
        "max_tokens": limit,
        "ignore_eos": params.ignore_eos,
        "stop_token_ids": sorted({*params.stop_token_ids, *(() if params.ignore_eos else ends)}),
        "logprobs": params.top_logprobs,
        "prompt_logprobs": (params.top_logprobs or 0) if params.prompt_logprobs else None,
        "detokenize": False,
        "output_kind": RequestOutputKind.DELTA,
    }


def _structured(constraint: Constraint | None) -> StructuredOutputsParams | None:
    """Return a form in the library's words, for workers beside this process, which take whole forms alone."""
    if constraint is None:
        return None
    match constraint.kind:
        case "json_schema":
            return StructuredOutputsParams(json=constraint.text)
        case "regex":
            return StructuredOutputsParams(regex=constraint.text)
    return StructuredOutputsParams(grammar=constraint.text)
