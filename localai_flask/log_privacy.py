"""Logs that say nothing of what clients sent: a traceback has the kind of its exception, and not the message.

Messages hold whatever the code in question was at work on, such as a prompt. Knows no logger: every record of the
process is made here, whoever formats it (a formatter of one's own has to take `exc_text` where it is set).
"""

from __future__ import annotations

import logging
import traceback
from types import TracebackType
from typing import Any

HIDDEN = "(what it says may be part of a request; LOCALAI_LOG_PROMPTS=true shows it)"
HARMLESS = (ImportError, NameError, MemoryError, RecursionError, ZeroDivisionError)
"""Exceptions that speak of code alone."""
LED_TO = "\nThat led to:\n\n"


def hide_messages() -> None:
    """Make every log record of this process without messages of exceptions; may be called again."""
    logging.setLogRecordFactory(_QuietRecord)


class _QuietRecord(logging.LogRecord):
    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.exc_info and self.exc_info[1] is not None:
            self.exc_text = describe(self.exc_info[1])


def describe(error: BaseException) -> str:
    """Write an exception's traceback, and those of what led to it, without their messages."""
    parts: list[str] = []
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        parts.append(_describe_one(found, found.__traceback__))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return LED_TO.join(reversed(parts)).rstrip()


def _describe_one(error: BaseException, place: TracebackType | None) -> str:
    frames = "".join(traceback.format_tb(place))
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    said = str(error) if isinstance(error, HARMLESS) else HIDDEN
    return f"Traceback (most recent call last):\n{frames}{name}: {said}\n"
