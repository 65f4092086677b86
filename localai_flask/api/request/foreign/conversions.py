"""How values of other servers' fields are read as values of ours, where the name is not all that differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError

from localai_flask.api.request.foreign.fates import Fields
from localai_flask.api.request.parsing import Unsupported

Read = Callable[[Any], Fields]

LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
KOBOLD_SAMPLERS = ("top_k", "top_a", "top_p", "tfs", "typ_p", "temperature", "penalties")
"""By the numbers that KoboldCpp's `sampler_order` has for them."""


def as_field(name: str) -> Read:
    """Take the value as it is."""
    return lambda value: {name: value}


def flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValidationError("must be true or false.")
    return value


def when(*, true: Fields | None = None, false: Fields | None = None) -> Read:
    """Read a switch."""
    return lambda value: (true if flag(value) else false) or {}


def number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValidationError("must be a number.")
    return value


def entries(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValidationError("must be an object.")
    return {name: each for name, each in value.items() if each is not None}


def number_or_all(name: str) -> Read:
    """Read a count of tokens of which 0 means all."""
    return lambda value: {name: -1 if value == 0 else value}


def count_of(name: str) -> Read:
    """Read a number of which 0 asks for nothing."""
    return lambda value: {} if value == 0 else {name: value}


def token_limit(value: Any) -> Fields:
    """Read llama-server's limit, of which 0 means that nothing is written, and the prompt is only computed."""
    is_none = value == 0 and not isinstance(value, bool)
    return {"prompt_only": True, "max_tokens": 1} if is_none else {"max_tokens": value}


def seconds_as_ms(value: Any) -> Fields:
    return {"t_max_predict_ms": round(1000 * number(value))}


def banned_tokens(value: Any) -> Fields:
    """Read ids, in a list or between commas, or texts: KoboldCpp bans what contains one."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
        if not all(part.lstrip("-").isdigit() for part in value):
            raise ValidationError("must be ids of tokens between commas.")
        value = [int(part) for part in value]
    if not isinstance(value, list) or not all(type(each) in (int, str) for each in value):
        raise ValidationError("must be a list of ids of tokens, or of texts.")
    texts = [each for each in value if isinstance(each, str) and each]
    ids = {str(each): -100 for each in value if isinstance(each, int) and each >= 0}
    return {**({"banned_strings": texts} if texts else {}), **({"logit_bias": ids} if ids else {})}


def list_in_text(name: str) -> Read:
    """Read a list, or the text of one: JSON, or texts between commas or in lines of their own."""

    def read(value: Any) -> Fields:
        if not isinstance(value, str):
            return {name: value}
        if value.lstrip().startswith("["):
            try:
                return {name: json.loads(value)}
            except (ValueError, RecursionError):
                raise ValidationError("must be a list, but is no JSON.") from None
        separator = "\n" if "\n" in value else ","
        return {name: [part.strip().strip('"') for part in value.split(separator) if part.strip()]}

    return read


def sampler_order(value: Any) -> Fields:
    if not isinstance(value, list) or not all(type(each) is int and 0 <= each < len(KOBOLD_SAMPLERS) for each in value):
        raise ValidationError(f"must be a list of numbers from 0 to {len(KOBOLD_SAMPLERS) - 1}.")
    if not value:
        return {}
    # The others have no number, and always run, at the places where llama.cpp has them.
    names = [KOBOLD_SAMPLERS[each] for each in value]
    first = names.pop(0) if names[0] == "penalties" else ""
    last = names.index("temperature") if "temperature" in names else len(names)
    ordered = [first, "dry", "top_n_sigma", *names[:last], "min_p", "xtc", *names[last:]]
    return {"samplers": [name for name in ordered if name]}


def reasoning(value: Any) -> Fields:
    """Read OpenRouter's object, or a switch, or a level."""
    if isinstance(value, bool):
        return {"enable_thinking": value}
    if isinstance(value, str):
        return _level(value)
    asked = entries(value)
    found: dict[str, Any] = {}
    if "enabled" in asked:
        found["enable_thinking"] = flag(asked["enabled"])
    if "effort" in asked:
        found |= _level(asked["effort"])
    if "max_tokens" in asked:
        found["thinking_budget"] = asked["max_tokens"]
    if "exclude" in asked:
        found["include_reasoning"] = not flag(asked["exclude"])
    return found


def thinking(value: Any) -> Fields:
    """Read the object of DeepSeek, GLM, Kimi and Doubao, which is Anthropic's too, or a switch."""
    if isinstance(value, bool):
        return {"enable_thinking": value}
    if isinstance(value, str):
        value = {"type": value}
    asked = entries(value)
    kind = asked.get("type", "enabled")
    if kind not in ("enabled", "disabled", "auto", "adaptive"):
        raise ValidationError({"type": ["must be one of: enabled, disabled, auto, adaptive."]})
    found: dict[str, Any] = {} if kind in ("auto", "adaptive") else {"enable_thinking": kind == "enabled"}
    if "budget_tokens" in asked:
        found["thinking_budget"] = asked["budget_tokens"]
    return found


def think(value: Any) -> Fields:
    """Read Ollama's switch or level."""
    return _level(value) if isinstance(value, str) else {"enable_thinking": flag(value)}


def _level(value: Any) -> Fields:
    if value in ("none", "off", "false"):
        return {"enable_thinking": False}
    if value in ("on", "true"):
        return {"enable_thinking": True}
    if value not in LEVELS:
        raise ValidationError(f"must be one of: none, {', '.join(LEVELS)}.")
    return {"reasoning_effort": value}


def usage(value: Any) -> Fields:
    """Read OpenRouter's wish for the usage in a stream."""
    return {"stream_options": {"include_usage": True}} if entries(value).get("include") is True else {}


def dynamic_temperature(value: Any) -> Fields:
    """Read the switch beside `dynatemp_low` and `dynatemp_high`, which mean nothing without it."""
    if flag(value):
        raise ValidationError(
            [Unsupported("has the temperature vary between two; send `temperature`, and `dynatemp_range` around it.")]
        )
    return {}


def no_sampling(value: Any) -> Fields:
    return {} if flag(value) else {"temperature": 0}
