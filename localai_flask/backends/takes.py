"""What an engine declares to take of requests; all else is refused here by name, before the engine sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Constraint, Prompt
from localai_flask.sampling_params import SamplingParams

BASIC = frozenset(("temperature", "top_p", "top_k", "seed", "max_tokens", "stop", "prompt_only"))
"""What every engine takes."""
HINTS = frozenset(("keep_s", "preserved"))
"""What an engine may pass over: another answer it does not make."""
DETAILS = frozenset(
    (
        *("xtc_threshold", "dynatemp_exponent", "mirostat_tau", "mirostat_eta", "adaptive_decay", "repeat_last_n"),
        *("dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
    )
)
"""What means nothing without another parameter, which stands for it."""
ALL_INPUTS = frozenset(("text", "tokens", "image"))
ALL_SAMPLING = frozenset(SamplingParams.__struct_fields__)
PUBLIC = {
    "text_bias": ("logit_bias", "`logit_bias` with texts as keys"),
    "prompt_logprobs": ("echo", "`echo` together with `logprobs`"),
    "top_logprobs": ("logprobs", "`logprobs`"),
    "logprob_token_ids": ("model", "a decision, which needs the log-probabilities of its options,"),
    "samplers": ("samplers", "`samplers` in an order of their own"),
    "cache_prompt": ("cache_prompt", "`cache_prompt: false`"),
    "adapters": ("lora", "`lora`"),
}
"""The fields of requests, and how they are asked for, where that is not the parameter's name."""


@dataclass(frozen=True)
class Takes:
    """`sampling` are names of `SamplingParams`, beside those that every engine takes; `inputs` are kinds of prompts."""

    sampling: frozenset[str] = frozenset()
    constraints: frozenset[str] = frozenset()
    inputs: frozenset[str] = frozenset(("text", "tokens"))

    def check(self, prompt: Prompt, params: SamplingParams, backend: str) -> None:
        """Raise `UnsupportedParameter` for the first thing that a request asks and this engine does not take."""
        for name in asked(params):
            if name not in self.sampling:
                field, how = PUBLIC.get(name, (name, f"`{name}`"))
                raise _refused(field, f"{how} is not supported by the {backend} backend")
        if params.constraint is not None and not params.constraint.needs <= self.constraints:
            self._refuse(params.constraint, backend)
        if prompt.tokens is not None and "tokens" not in self.inputs:
            raise _refused("prompt", f"the {backend} backend takes prompts as text only, not as tokens")
        if prompt.images and "image" not in self.inputs:
            raise _refused("messages", f"the {backend} backend takes no images")

    def _refuse(self, constraint: Constraint, backend: str) -> None:
        field = constraint.param or constraint.kind
        kinds = ", ".join(sorted(self.constraints & {"json_schema", "regex", "gbnf", "lark"}))
        takes = f"which takes these kinds alone: {kinds}" if kinds else "which takes none"
        raise _refused(field, f"`{field}` asks for a form that is not possible with the {backend} backend, {takes}")


OFF: dict[str, Callable[[float], bool]] = {
    "top_n_sigma": lambda value: value <= 0,
    "adaptive_target": lambda value: value < 0,
}
"""Parameters that other values than the default switch off as well."""


def asked(params: SamplingParams) -> Iterable[str]:
    """Yield the parameters that a request uses and that not every engine takes."""
    for name in _OPTIONAL:
        value = getattr(params, name)
        if value != getattr(_PLAIN, name) and not _is_off(name, value):
            yield name


_PLAIN = SamplingParams()
_OPTIONAL = [
    "logprob_token_ids",  # first, since a request has no word for what comes with it
    *(
        field.name
        for field in msgspec.structs.fields(SamplingParams)
        if field.name not in BASIC | HINTS | DETAILS | {"constraint", "thinking", "logprob_token_ids"}
    ),
]


def _is_off(name: str, value: float) -> bool:
    """Return whether a value beside the default switches a parameter off as well."""
    return name in OFF and OFF[name](value)


def _refused(field: str, said: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{said[0].upper()}{said[1:]}; leave it out, or choose a model of another backend, such as llama-cpp.",
        param=field,
    )
