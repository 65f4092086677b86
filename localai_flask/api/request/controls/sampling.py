"""The sampling fields that chat completions, completions and edits share."""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.controls.forms import FormFields, asked_form
from localai_flask.api.request.controls.sampling_fields import SamplingFields, asked_sampling
from localai_flask.api.request.fields import (
    Flag,
    Noted,
    Object,
    Refused,
    RequestSchema,
    Text,
    Whole,
)
from localai_flask.api.request.foreign.translation import ForeignFields
from localai_flask.api.request.waiting import ProgressFields, WaitingFields, waiting_of
from localai_flask.chat.constraints.constraint import Wanted

MAX_CHOICES = 128
MAX_TOP_LOGPROBS = 20
MAX_SEQUENCES = 512
"""Of all prompts and choices of one request together."""
OF_SENDER = "says who asks, of which nothing is kept here."
TIER = "is about the provider's tiers; `priority` is what this server has."
CACHED = "is about the prompt cache, which keeps what fits, for all alike."


class StreamOptions(RequestSchema):
    include_usage = Flag(load_default=False)
    include_obfuscation = Refused("asks for padding, which this server does not add; leave it out or send false.")


class SamplingRequest(ForeignFields, SamplingFields, FormFields, WaitingFields):
    """A request that runs a model."""

    model = Text()
    n = Whole(1, MAX_CHOICES)


class StreamingRequest(SamplingRequest, ProgressFields):
    """One whose answer may come as a stream."""

    stream = Flag(load_default=False)
    stream_options = Object(StreamOptions)


class TimedFields(RequestSchema):
    timings_per_token = Flag(
        load_default=False,
        metadata={"description": "Have `timings` in each chunk of the stream, up to its token, as llama-server."},
    )


class ClientFields(RequestSchema):
    """What a request says of its sender."""

    user = Noted(OF_SENDER)
    safety_identifier = Noted(OF_SENDER)
    prompt_cache_key = Noted(CACHED)
    prompt_cache_options = Noted(CACHED)
    prompt_cache_retention = Noted(CACHED)
    service_tier = Noted(TIER)


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
