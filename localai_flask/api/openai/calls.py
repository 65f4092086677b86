"""The typed calls that OpenAI's requests become; inside the server there is no JSON any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from localai_flask.api.request.waiting import NO_WISHES, Waiting
from localai_flask.chat.constraints.constraint import Wanted
from localai_flask.chat.conversation import Conversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What all calls have.

    `asked` holds the sampling parameters that the request names; `n` None means the model's default.
    """

    model: str | None
    asked: Mapping[str, Any]
    n: int | None = None
    stream: bool = False
    include_usage: bool = False
    timings_per_token: bool = False
    waiting: Waiting = NO_WISHES
    wanted: Wanted = field(default_factory=Wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall(Call):
    """With `is_legacy` calls are answered as `function_call`, as before there were tools."""

    conversation: Conversation
    body: Mapping[str, Any] = field(default_factory=dict)
    """The request itself, from which a stream that outlives its client is made."""
    is_legacy: bool = False
    customs: frozenset[str] = frozenset()
    """The names of the tools that are called with a text."""
    left_out: tuple[str, ...] = ()
    """The types of tools that a server would have to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionCall(Call):
    """Each prompt is text or token ids.

    With `best_of`, that number of answers are made, of which the `n` best are wanted. `needs_echo` is the field that
    asks for no answer, which makes sense with `echo` only; "" if none does.
    """

    prompts: tuple[str | tuple[int, ...], ...]
    suffix: str | None = None
    best_of: int | None = None
    echo: bool | None = None
    needs_echo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditCall(Call):
    instruction: str
    inputs: tuple[str, ...]
