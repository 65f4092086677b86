"""The frames of server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations


def frame(data: bytes, event: str = "") -> bytes:
    """Return one event with data of one line; without a name it is a `message`."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data) if event else b"data: %s\n\n" % data


def comment(text: str) -> bytes:
    """Return a line that clients pass over; it keeps a silent connection alive."""
    return b": %s\n\n" % text.encode()


DONE = frame(b"[DONE]")
"""What ends a stream of OpenAI's families."""
