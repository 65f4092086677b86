"""The frames of server-sent events, https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from __future__ import annotations


def frame(data: bytes, event: str = "") -> bytes:
    """Return one event with data of one line; without a name it is a `message`."""
    return b"event: %s\ndata: %s\n\n" % (event.encode(), data) if event else b"data: %s\n\n" % data


def comment(text: str) -> bytes:
    """Return a line that clients pass over; it keeps a silent connection alive."""
    return b": %s\n\n" % text.encode()


DONE = frame(b"[DONE]")
"""What ends a stream of OpenAI's that is whole, and every one of Open Responses, whose events say how it has ended."""


def failure(error: bytes) -> bytes:
    """Return what ends a stream of OpenAI's that breaks off: an error, with no `[DONE]` behind it, as of llama-server.

    The official clients raise at the error; but there are some that look for the end alone, such as llama.cpp's web
    page, and would take what has come for a whole answer. Nobody waits for more, as the body ends.
    """
    return frame(error)
