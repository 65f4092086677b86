"""How tokens are chosen for one request: by house defaults, the model's file, its family, its YAML, and the client.

Owns the ranges' meaning for requests and the folding of values that engines read in different ways.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import inspect

from localai_flask.config import scalars, traits
from localai_flask.config.blocks import Parameters
from localai_flask.config.engines.facts import facts
from localai_flask.config.model import ModelConfig
from localai_flask.config.sampling.families import sampling_for
from localai_flask.config.sampling.sampler_order import read_samplers, with_samplers
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Adapter
from localai_flask.sampling_params import LONGEST_TEXTS, SamplingParams, wanted_fields

log = logging.getLogger("gunicorn.error")

HOUSE: Mapping[str, Any] = {"temperature": 0.8, "min_p": 0.05}
"""Where nobody says: what llama.cpp's own programs take (`common_params_sampling`), as far as the engines have not."""
NEUTRAL: Mapping[str, Any] = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""For a model of another server, which has defaults of its own: what is not said to it."""
MOST_LOGPROBS = 20
SMALLEST_FRACTION = 1e-6
"""What a `top_p` or `typical_p` of 0 becomes: only the likeliest token is left, also in engines that refuse a 0."""
SEEDS = 2**32 - 1
"""Seeds are folded into 0 … 2³² - 2; the next one up is what llama.cpp takes for "a fresh one"."""

LONGEST_BREAKER = 40
"""In bytes: llama.cpp cuts off what is longer."""
_TOKEN_ID = re.compile("[0-9]{1,18}")
"""A key of `logit_bias` that is a token's id; every other one is text."""

INT32_MAX = 2**31 - 1
"""Engines count tokens in 32 bits, and no vocabulary or context comes near that."""


def merge(config: ModelConfig, asked: Mapping[str, Any], called: Mapping[str, str] | None = None) -> SamplingParams:
    """Lay a request's fields over the model's parameters.

    `asked` has the names of `SamplingParams`' fields and None where the client sent nothing; `called` says which of
    them the client knows by another name. Raises `InvalidRequest` with the client's name of a field out of range.
    """
    values: dict[str, Any] = {"seed": 0} if config.deterministic else {}
    values |= {name: value for name, (value, _) in defaults(config).items()} | _from_yaml(config.parameters)
    for name, value in asked.items():
        if value is not None and name not in ("stop", "lora", "prompt_only"):
            values[name] = _checked(name, value, (called or {}).get(name, name))
    values["stop"] = _stops(config.stopwords, asked.get("stop"), (called or {}).get("stop", "stop"))
    return SamplingParams(
        **_folded(with_samplers(values)),
        adapters=_adapters(config, asked.get("lora")),
        prompt_only=asked.get("prompt_only", False),
    )


def defaults(config: ModelConfig) -> dict[str, tuple[Any, str]]:
    """Return what holds where neither the YAML nor the request says anything: values, and where each comes from."""
    if facts(config.backend).files == "elsewhere":
        return {name: (value, "left to the server elsewhere") for name, value in NEUTRAL.items()}
    family = sampling_for(config.name, config.parameters.model)
    origins = ((HOUSE, "the default of this server"), (_from_file(config), "the model's file"), (family, "its family"))
    return {name: (value, origin) for values, origin in origins for name, value in values.items()}


def _from_file(config: ModelConfig) -> dict[str, Any]:
    """Return what the model's own file says and makes sense; the values are numbers of 32 bits, written as such."""
    wanted = traits.sampling(config)
    return _sensible(config.name, tuple(sorted(wanted.items()))) if wanted else {}


@functools.lru_cache(maxsize=512)
def _sensible(name: str, wanted: tuple[tuple[str, float], ...]) -> dict[str, Any]:
    checked: dict[str, Any] = {}
    for key, value in wanted:
        shown = value if isinstance(value, int) else float(f"{value:.7g}")
        if key in ("temperature", "top_k"):  # below 0 they mean the same to llama.cpp, which writes such files
            shown = max(shown, 0)
        try:
            checked[key] = _checked(key, shown, key)
        except InvalidRequest as error:
            log.warning("the file of model %s says how to sample it, but %s", name, error.info.message)
    return checked


def _from_yaml(parameters: Parameters) -> dict[str, Any]:
    given = (
        (name, getattr(parameters, name)) for name in SamplingParams.__struct_fields__ if hasattr(parameters, name)
    )
    values = {
        name: _checked(name, value, f"parameters.{name}") if isinstance(value, tuple) else value
        for name, value in given
        if value is not None
    }
    return values | {"logit_bias": parameters.logit_bias}


@functools.cache
def _kinds() -> dict[str, inspect.Type]:
    """Return the declared type of each field that a request may set, with the range that YAML has too."""
    info = inspect.type_info(Parameters)
    assert isinstance(info, inspect.StructType)
    kinds = {field.name: field.type for field in info.fields if field.name in wanted_fields()}
    kinds["top_logprobs"] = inspect.IntType(ge=0, le=MOST_LOGPROBS)
    return {name: _plain(kind) for name, kind in kinds.items()}


def _plain(kind: inspect.Type) -> inspect.Type:
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    return kind.type if isinstance(kind, inspect.Metadata) else kind


def _checked(name: str, value: Any, called: str) -> Any:
    kind = _kinds()[name]
    try:
        match kind:
            case inspect.BoolType():
                return scalars.flag(value)
            case inspect.IntType():
                return scalars.whole(_folded_seed(value) if name == "seed" else value, kind)
            case inspect.FloatType():
                return scalars.number(value, kind)
            case inspect.DictType():
                return _logit_bias(value, kind)
            case inspect.VarTupleType():
                listed = _breakers(value) if name == "dry_sequence_breakers" else _listed(value, kind)
                return read_samplers(listed) if name == "samplers" else listed
        raise AssertionError(name)
    except ValueError as error:
        raise InvalidRequest(f"`{called}` {error}.", param=called) from None


def _adapters(config: ModelConfig, asked: Iterable[tuple[int, float]] | None) -> tuple[Adapter, ...] | None:
    """Return the adapters that a request chooses by numbers; None: it leaves them to its model."""
    if asked is None:
        return None
    known, chosen = config.known_adapters, dict(asked)
    for number in chosen:
        if not 0 <= number < len(known):
            had = f"has 0 to {len(known) - 1}" if known else "has none"
            raise InvalidRequest(f"`lora` names the adapter {number}, and {config.name!r} {had}.", param="lora")
    return tuple(Adapter(known[number], scale) for number, scale in sorted(chosen.items()) if scale)


def _listed(value: Any, kind: inspect.VarTupleType) -> tuple[Any, ...]:
    """Take a list of ids or of texts, which are bounded in number and in size."""
    is_text = isinstance(kind.item_type, inspect.StrType)
    wanted, expected = ("texts", str) if is_text else ("token ids", int)
    if not isinstance(value, list | tuple) or not all(type(each) is expected for each in value):
        raise ValueError(f"must be a list of {wanted}, not {scalars.shown(value)}")
    if kind.max_length is not None and len(value) > kind.max_length:
        raise ValueError(f"may have at most {kind.max_length:,} entries")
    if is_text and sum(len(each.encode()) for each in value) > LONGEST_TEXTS:
        raise ValueError(f"may have at most {LONGEST_TEXTS:,} bytes of text")
    if is_text and not all(value):
        raise ValueError("must not have an empty text")
    if not is_text and not all(0 <= each < INT32_MAX for each in value):
        raise ValueError("must have token ids, which are not below 0")
    return tuple(value)


def _logit_bias(value: Any, kind: inspect.DictType) -> dict[str, float]:
    assert isinstance(kind.key_type, inspect.StrType)
    assert isinstance(kind.value_type, inspect.FloatType)
    if not isinstance(value, Mapping):
        raise ValueError(f"must map token ids or texts to biases, not {scalars.shown(value)}")
    biases = {}
    for token, bias in value.items():
        try:
            token = scalars.text(token, kind.key_type)
        except ValueError:
            raise ValueError(f"maps token ids or texts to biases; {scalars.shown(token)} is neither") from None
        try:
            biases[token] = scalars.number(bias, kind.value_type)
        except ValueError as error:
            raise ValueError(f"maps token ids or texts to biases; each {error}") from None
    return biases


def _breakers(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError(f"must be a list of texts, not {scalars.shown(value)}")
    for text in value:
        if not 0 < len(text.encode()) <= LONGEST_BREAKER or "\0" in text:
            raise ValueError(f"must have texts of 1 to {LONGEST_BREAKER} bytes without NUL, not {scalars.shown(text)}")
    return tuple(value)


def _stops(stopwords: Iterable[str], asked: Any, called: str) -> tuple[str, ...]:
    """Append the request's stop strings to the model's, each once, without empty ones."""
    own = [asked] if isinstance(asked, str) else [] if asked is None else asked
    if not isinstance(own, list | tuple) or not all(isinstance(each, str) for each in own):
        raise InvalidRequest(f"`{called}` must be text or a list of texts.", param=called)
    return tuple(dict.fromkeys(each for each in (*stopwords, *own) if each))


def _folded_seed(value: Any) -> Any:
    return value % SEEDS if isinstance(value, int) and not isinstance(value, bool) and value != -1 else value


def _folded(values: dict[str, Any]) -> dict[str, Any]:
    """Fold each meaning into one value, whatever way it was written."""
    folded = dict(values)
    biases = folded.get("logit_bias", {})
    folded["logit_bias"] = {int(token): bias for token, bias in biases.items() if _TOKEN_ID.fullmatch(token)}
    folded["text_bias"] = {text: bias for text, bias in biases.items() if not _TOKEN_ID.fullmatch(text)}
    if "seed" in values:
        folded["seed"] = _folded_seed(values["seed"])
    if "top_k" in values:
        folded["top_k"] = min(max(values["top_k"], 0), INT32_MAX)
    if "t_max_predict_ms" in values:
        folded["t_max_predict_ms"] = max(values["t_max_predict_ms"], 0)
    for name in ("repeat_last_n", "dry_penalty_last_n", "dry_allowed_length"):
        if name in values:
            folded[name] = min(values[name], INT32_MAX)
    for name in ("top_p", "typical_p"):
        if name in values:
            folded[name] = max(values[name], SMALLEST_FRACTION)
    return folded
