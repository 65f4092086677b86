"""A client's connection as the web worker keeps it, and what stands in for gunicorn's parser on it."""

from __future__ import annotations

from typing import Any

from gunicorn.workers.gthread import TConn

from localai_flask.server.web.arrival import Arrival


class Connection(TConn):  # type: ignore[misc]
    """A client's connection: a request arrives on it, or is worked on, or it says goodbye."""

    arrival: Arrival
    deadline: float
    held = 0
    """Bytes of its request that are counted in what the worker holds."""
    on_disk = 0
    """Bytes of its request that are counted in what the worker keeps on disk."""
    sender = ""
    """Whose bytes these are."""
    is_known = False
    """Whether its present request may be larger than what memory holds."""
    caller: str | None = None
    """Whose share of the threads its request takes; None if that needs none."""
    rest: bytes = b""
    """What came behind the request that is worked on."""
    discarded = 0
    last_deadline = 0.0
    """Until when it is listened to after its last answer, whatever comes."""


class Arrived:
    """Stands in for gunicorn's parser where the request has been parsed."""

    def __init__(self, request: Any):
        self._request = request

    def __next__(self) -> Any:
        return self._request

    def finish_body(self, deadline: float | None = None) -> bool:
        return True
