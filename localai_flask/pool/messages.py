"""The wire between web workers and model workers: msgspec structs in msgpack.

A frame of the channel carries a list of (request id, message), so that one step of the engine costs one frame per
web worker however many requests it advanced. Request ids are chosen by the web side and are unique in one channel.
"""

from __future__ import annotations

import msgspec

from localai_flask.config.model import Limits
from localai_flask.generation import Delta, Failed, Finished, Progress, Prompt, PromptLogprobs, SamplingParams, Started
from localai_flask.inquiry import Detokenized, Embedded, EmbeddedPart, Question, Scored, Tokenized

WIRE_VERSION = 4


class Generate(msgspec.Struct, frozen=True, array_like=True, tag="generate"):
    """Run one sequence; `timeout_s` counts from arrival and covers waiting and decoding (None: no limit).

    `limits` are those of the model's YAML as it is now, since a worker outlives its changes.
    """

    prompt: Prompt
    sampling: SamplingParams
    timeout_s: float | None = None
    limits: Limits = Limits()


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """Answer one question; the questions that come in one frame are admitted together."""

    question: Question
    timeout_s: float | None = None
    limits: Limits = Limits()


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """The client left: forget the request, whatever its stage."""


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping"):
    """Ask whether worker and engine are alive."""


class Taken(msgspec.Struct, frozen=True, array_like=True, tag="taken"):
    """The engine is about to look at the request: if the worker dies now, the request may be why."""


class Queued(msgspec.Struct, frozen=True, array_like=True, tag="queued"):
    """The engine has looked at the request and lets it wait: another worker may have it if this one dies."""


class Pong(msgspec.Struct, frozen=True, array_like=True, tag="pong"):
    """Seconds since the engine thread last finished a step or was idle, and its running and waiting jobs."""

    engine_silent_s: float
    running: int
    waiting: int


Command = Generate | Ask | Cancel | Ping
Answer = (
    Taken
    | Queued
    | Started
    | Progress
    | PromptLogprobs
    | Delta
    | Finished
    | Failed
    | EmbeddedPart
    | Embedded
    | Scored
    | Tokenized
    | Detokenized
    | Pong
)
Message = Command | Answer

_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
decode_commands = msgspec.msgpack.Decoder(list[tuple[int, Command]]).decode
decode_answers = msgspec.msgpack.Decoder(list[tuple[int, Answer]]).decode
NOT_LAST = (Taken, Queued, Started, Progress, PromptLogprobs, Delta, EmbeddedPart)
"""Answers after which more will come for the same request."""
