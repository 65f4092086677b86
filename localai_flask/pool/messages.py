"""The wire between web workers and model workers: msgspec structs in msgpack.

A frame of the channel carries a list of (request id, message), so that one step of the engine costs one frame per
web worker however many requests it advanced. Request ids are chosen by the web side and are unique in one channel.
"""

from __future__ import annotations

import msgspec

from localai_flask.config.blocks import Limits
from localai_flask.generation import Delta, Failed, Finished, Progress, Prompt, PromptLogprobs, Started
from localai_flask.inquiry import Detokenized, Embedded, EmbeddedPart, Question, Scored, Tokenized
from localai_flask.sampling_params import SamplingParams

WIRE_VERSION = 9


class Terms(msgspec.Struct, frozen=True, array_like=True):
    """How a request waits: whose share of the engine it uses, how urgent it is, and how long it may take.

    `limits` are those of the model's YAML as it is now, since a worker outlives its changes. The lowest priority starts
    first. `timeout_s` counts from arrival, and covers waiting and running (None: no limit).
    With `tells_place` the request hears of its place in the line. `trace` is its span, as W3C has it (traceparent).
    """

    timeout_s: float | None = None
    caller: str = ""
    priority: int = 0
    is_background: bool = False
    tells_place: bool = False
    limits: Limits = Limits()
    trace: str = ""


class Generate(msgspec.Struct, frozen=True, array_like=True, tag="generate"):
    """Run one sequence."""

    prompt: Prompt
    sampling: SamplingParams
    terms: Terms = Terms()


class Ask(msgspec.Struct, frozen=True, array_like=True, tag="ask"):
    """Answer one question; the questions that come in one frame are admitted together."""

    question: Question
    terms: Terms = Terms()


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """The client left: forget the request, whatever its stage."""


class EndThinking(msgspec.Struct, frozen=True, array_like=True, tag="end_thinking"):
    """The client wants the answer now: what the request's model thinks has to end, if its sampling has a budget."""


class Ping(msgspec.Struct, frozen=True, array_like=True, tag="ping"):
    """Ask whether worker and engine are alive."""


class Taken(msgspec.Struct, frozen=True, array_like=True, tag="taken"):
    """The engine is about to look at the request: if the worker dies now, the request may be why."""


class Queued(msgspec.Struct, frozen=True, array_like=True, tag="queued"):
    """The engine has looked at the request and lets it wait: another worker may have it if this one dies.

    `place` is the one in the line, 1 for the next, to those who asked for it; else 0.
    """

    place: int = 0


class Pong(msgspec.Struct, frozen=True, array_like=True, tag="pong"):
    """Seconds since the engine thread last finished a step or was idle, and its running and waiting jobs."""

    engine_silent_s: float
    running: int
    waiting: int


Command = Generate | Ask | Cancel | EndThinking | Ping
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
