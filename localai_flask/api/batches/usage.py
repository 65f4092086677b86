"""The tokens that a line's answer says it took, in any API family's words."""

from __future__ import annotations

import msgspec

from localai_flask.store.batches.rows import NO_USAGE, Usage


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Told(msgspec.Struct):
    prompt_tokens: int = 0
    input_tokens: int = 0
    completion_tokens: int = 0
    output_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    output_tokens_details: _Details | None = None


class _Body(msgspec.Struct):
    usage: _Told | None = None


_decode = msgspec.json.Decoder(_Body).decode


def read_usage(body: bytes) -> Usage:
    """Return what the body of an answer says; an error says nothing."""
    told = _decode(body).usage
    if told is None:
        return NO_USAGE
    of_input = told.input_tokens_details or told.prompt_tokens_details or _Details()
    of_output = told.output_tokens_details or told.completion_tokens_details or _Details()
    return Usage(
        told.prompt_tokens or told.input_tokens,
        of_input.cached_tokens or 0,
        told.completion_tokens or told.output_tokens,
        of_output.reasoning_tokens or 0,
    )
