"""The sampling fields that chat completions, completions and edits share."""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.fields import (
    Decimal,
    Either,
    Flag,
    Many,
    Mapping,
    Noted,
    Object,
    Refused,
    RequestSchema,
    Text,
    Whole,
    at_most,
    not_empty,
    one_of,
)
from localai_flask.api.request.forms import FormFields, asked_form
from localai_flask.api.request.waiting import ProgressFields, WaitingFields, waiting_of
from localai_flask.chat.constraints.constraint import Wanted, json_form
from localai_flask.generation import Constraint

SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "top_n_sigma",
    "xtc_probability",
    "xtc_threshold",
    "dynatemp_range",
    "dynatemp_exponent",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "adaptive_target",
    "adaptive_decay",
    "dry_multiplier",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "repeat_penalty",
    "repeat_last_n",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "max_tokens",
    "ignore_eos",
    "cache_prompt",
    "stop",
    "logit_bias",
)
MAX_STOPS = 16
MAX_BREAKERS = 32
MAX_CHOICES = 128
MAX_SEQUENCES = 512
"""Of all prompts and choices of one request together."""
CACHED = "is about the prompt cache, which keeps what fits, for all alike."
NOT_YET = "is not supported by this server; leave it out."


class Stop(Either):
    """A stop string or up to 16 of them."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        stops = [value] if isinstance(value, str) else value
        if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
            raise ValidationError("must be a string or a list of strings.")
        if len(stops) > MAX_STOPS:
            raise ValidationError(f"may have at most {MAX_STOPS} entries.")
        if not all(stops):
            raise ValidationError("must not have an empty string.")
        return tuple(stops)


class StreamOptions(RequestSchema):
    include_usage = Flag(load_default=False)
    include_obfuscation = Refused("asks for padding, which this server does not add; leave it out or send false.")


class SamplingRequest(FormFields, WaitingFields):
    """A request that runs a model."""

    model = Text()
    n = Whole(1, MAX_CHOICES)
    temperature = Decimal(0, 100)
    top_p = Decimal(0, 1)
    top_k = Whole(-1)
    min_p = Decimal(0, 1)
    typical_p = Decimal(0, 1)
    top_n_sigma = Decimal(-1, 1000)
    xtc_probability = Decimal(0, 1)
    xtc_threshold = Decimal(0, 1)
    dynatemp_range = Decimal(0, 100)
    dynatemp_exponent = Decimal(0, 100)
    mirostat = Whole(0, 2)
    mirostat_tau = Decimal(0, 1000)
    mirostat_eta = Decimal(0, 1000)
    adaptive_target = Decimal(-1, 1)
    adaptive_decay = Decimal(0, 0.99)
    dry_multiplier = Decimal(0, 1000)
    dry_base = Decimal(1, 1000)
    dry_allowed_length = Whole(0)
    dry_penalty_last_n = Whole(-1)
    dry_sequence_breakers = Many(Text(), validate=at_most(MAX_BREAKERS))
    repeat_penalty = Decimal(0.01, 100)
    repeat_last_n = Whole(-1)
    frequency_penalty = Decimal(-2, 2)
    presence_penalty = Decimal(-2, 2)
    seed = Whole()
    max_tokens = Whole(1)
    ignore_eos = Flag()
    cache_prompt = Flag()
    stop = Stop(metadata={"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    logit_bias = Mapping(
        values=Decimal(-100, 100), metadata={"description": "What to add to logits, by token ids or by texts."}
    )
    backend = Refused("cannot be chosen by a request; set it in the model's YAML.")
    grammar_json_functions = Refused(NOT_YET)
    negative_prompt = Refused(NOT_YET)
    tfz = Refused(NOT_YET, harmless=(1,))
    n_keep = Refused(NOT_YET)
    rope_freq_base = Refused("cannot be set by a request; it belongs to loading the model.")
    rope_freq_scale = Refused("cannot be set by a request; it belongs to loading the model.")


class StreamingRequest(SamplingRequest, ProgressFields):
    """One whose answer may come as a stream."""

    stream = Flag(load_default=False)
    stream_options = Object(StreamOptions)


class ClientFields(RequestSchema):
    """What a request says of its sender."""

    user = Text()
    safety_identifier = Text()
    prompt_cache_key = Text()
    prompt_cache_options = Noted(CACHED)
    prompt_cache_retention = Noted(CACHED)
    service_tier = Text()


class JsonSchemaFormat(RequestSchema):
    name = Text(required=True, validate=not_empty())
    schema = Mapping(load_default=dict)
    strict = Flag()


class ResponseFormat(RequestSchema):
    """The form of the text; a JSON Schema is kept to whether `strict` is set or not."""

    type = Text(required=True, validate=one_of("text", "json_object", "json_schema"))
    json_schema = Object(JsonSchemaFormat)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> Constraint | None:
        if data["type"] == "json_object":
            return json_form({"type": "object"}, "response_format")
        if data["type"] == "text":
            return None
        if "json_schema" not in data:
            raise invalid("json_schema", "is required for this `type`.")
        return json_form(data["json_schema"]["schema"], "response_format.json_schema.schema")


def common(data: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Call` from loaded data."""
    return {
        "model": data.get("model") or None,
        "n": data.get("n"),
        "stream": data.get("stream", False),
        "include_usage": data.get("stream_options", {}).get("include_usage", False),
        "waiting": waiting_of(data),
        "wanted": Wanted(form=asked_form(data)),
        "asked": {name: data[name] for name in SAMPLING if name in data},
    }


def invalid(path: str, message: str) -> marshmallow.ValidationError:
    """The error for a field that is wrong only together with another one."""
    return ValidationError({path: [message]})
