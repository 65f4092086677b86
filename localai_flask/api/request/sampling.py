"""The sampling fields that chat completions, completions and edits share."""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.fields import (
    Flag,
    Mapping,
    Noted,
    Object,
    Refused,
    RequestSchema,
    Text,
    Whole,
    not_empty,
    one_of,
)
from localai_flask.api.request.forms import FormFields, asked_form
from localai_flask.api.request.sampling_fields import SamplingFields, asked_sampling
from localai_flask.api.request.waiting import ProgressFields, WaitingFields, waiting_of
from localai_flask.chat.constraints.constraint import Wanted, json_form
from localai_flask.generation import Constraint

MAX_CHOICES = 128
MAX_SEQUENCES = 512
"""Of all prompts and choices of one request together."""
CACHED = "is about the prompt cache, which keeps what fits, for all alike."
NOT_YET = "is not supported by this server; leave it out."


class StreamOptions(RequestSchema):
    include_usage = Flag(load_default=False)
    include_obfuscation = Refused("asks for padding, which this server does not add; leave it out or send false.")


class SamplingRequest(SamplingFields, FormFields, WaitingFields):
    """A request that runs a model."""

    model = Text()
    n = Whole(1, MAX_CHOICES)
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
        "asked": asked_sampling(data),
    }


def invalid(path: str, message: str) -> marshmallow.ValidationError:
    """The error for a field that is wrong only together with another one."""
    return ValidationError({path: [message]})
