"""What llama-server is asked for a job, and how it answers: the JSON of its `/completion`."""

from __future__ import annotations

from typing import Any

import msgspec

from localai_flask.backends.llama_server.schemas import enforced_schema
from localai_flask.generation import Constraint, TokenLogprob
from localai_flask.sampling_params import SamplingParams

AS_THEY_ARE = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold"),
    *("dynatemp_range", "dynatemp_exponent", "mirostat", "mirostat_tau", "mirostat_eta"),
    *("adaptive_target", "adaptive_decay", "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n"),
    *("repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty", "ignore_eos", "cache_prompt"),
)
"""Parameters that llama-server has by the same names."""
WINDOWS = ("repeat_last_n", "dry_penalty_last_n")
"""Numbers of the last tokens to look at, which have no word for all of them there."""
TAKEN = frozenset(
    (
        *AS_THEY_ARE,
        *("dry_sequence_breakers", "samplers", "logit_bias", "text_bias", "top_logprobs", "preserved"),
        *("t_max_predict_ms", "stop_token_ids", "include_stop_str_in_output"),
    )
)
"""The parameters that are honoured here, beside those that every engine takes."""
CONSTRAINTS = frozenset(("json_schema", "gbnf"))
SEEDS = 2**32 - 1
"""How many seeds there are; this number itself asks for a fresh one."""


def completion_body(
    prompt: list[int] | dict[str, Any], params: SamplingParams, limit: int, context: int
) -> dict[str, Any]:
    """Make the request for a job; `limit` is how many tokens its answer may have, `context` all together.

    Stop strings are not among what is asked: the text is cut where it is read, as with all engines.
    """
    body: dict[str, Any] = {name: getattr(params, name) for name in AS_THEY_ARE}
    body |= {"prompt": prompt, "n_predict": limit, "stream": True, "return_tokens": True, "return_progress": True}
    body |= {name: context for name in WINDOWS if body[name] == -1}
    body["seed"] = params.seed if params.seed < 0 else params.seed % SEEDS
    if params.dry_sequence_breakers:
        body["dry_sequence_breakers"] = list(params.dry_sequence_breakers)
    if samplers := [name for name in params.samplers if name != "mirostat"]:
        body["samplers"] = samplers
    if bias := [*map(list, params.logit_bias.items()), *map(list, params.text_bias.items())]:
        body["logit_bias"] = bias
    if params.top_logprobs is not None:
        body["n_probs"] = max(params.top_logprobs, 1)
    if params.preserved:
        body["preserved_tokens"] = list(params.preserved)
    if params.constraint is not None:
        body |= _form(params.constraint)
    return body


def _form(constraint: Constraint) -> dict[str, Any]:
    if constraint.kind == "gbnf":
        return {"grammar": constraint.text}
    return {"json_schema": enforced_schema(constraint)}


class Chunk(msgspec.Struct, forbid_unknown_fields=False):
    """One event of an answer; forks leave some of it out."""

    content: str = ""
    tokens: list[int] = []
    stop: bool = False
    tokens_predicted: int | None = None
    tokens_evaluated: int | None = None
    stop_type: str = ""
    stopped_eos: bool = False
    prompt_progress: dict[str, float] | None = None
    completion_probabilities: list[dict[str, Any]] = []
    timings: dict[str, Any] = {}

    @property
    def has_ended_itself(self) -> bool:
        """Whether the model has ended its text."""
        return self.stopped_eos or self.stop_type == "eos"

    @property
    def cached_tokens(self) -> int | None:
        count = self.timings.get("cache_n")
        return count if isinstance(count, int) else None

    def logprobs(self, top: int) -> list[TokenLogprob]:
        """Return the log-probabilities of its tokens, with the best of each."""
        return [
            TokenLogprob(*_entry(each), [_entry(other) for other in each.get("top_logprobs", [])[:top]])
            for each in self.completion_probabilities
        ]


def _entry(said: dict[str, Any]) -> tuple[int, bytes, float]:
    logprob = said.get("logprob")
    return said["id"], bytes(said.get("bytes") or said["token"].encode()), -1e9 if logprob is None else float(logprob)
