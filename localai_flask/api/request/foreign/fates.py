"""What may become of a field of another server: it stands for fields of ours, it is refused, or it is a hint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Fields = Mapping[str, Any]
"""Fields of ours, as a client would have sent them."""
OOBA = "text-generation-webui"
ASKS_NOTHING: tuple[Any, ...] = (False, 0, "", [], {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Honoured:
    """`read` turns a value into fields of ours, or raises `ValidationError` with a predicate; `said` explains that."""

    read: Callable[[Any], Fields]
    means: str
    """Our field, or several of them."""
    said: str = ""
    servers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Anything but a harmless value, which is the server's own default, is refused; `reason` is a predicate."""

    reason: str
    harmless: tuple[Any, ...] = ASKS_NOTHING
    servers: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Any value is taken, as no answer could show it; `reason` is a predicate.

    But one that is a number has to be a whole one `within` these bounds, if there are any.
    """

    reason: str
    servers: str
    within: tuple[int, int] | None = None


Fate = Honoured | Refusal | Hint


def is_harmless(value: Any, fate: Refusal) -> bool:
    """Return whether a value asks for nothing; true and 1 are different things here, 1 and 1.0 are not."""
    return any(isinstance(value, bool) == isinstance(each, bool) and value == each for each in fate.harmless)
