"""The latest picture of the server, shared by all who watch it through one process: they cost little more than one."""

from __future__ import annotations

import threading
import time

import msgspec
from flask import Flask

from localai_flask.api.live.picture import Picture, take_picture

BUSY_S, IDLE_S = 0.5, 1.0
"""How old a picture may be while something moves, and while nothing does."""


class Pictures:
    """Takes pictures when somebody asks for one and the latest is too old."""

    def __init__(self, app: Flask):
        self._app = app
        self._lock = threading.Lock()
        self._taken = float("-inf")
        self._number = 0
        self._latest = b""
        self._good_s = 0.0

    def newer_than(self, number: int) -> tuple[int, bytes]:
        """Return a picture as JSON and its number, which is still the one given if it is too early for another."""
        with self._lock:
            if time.monotonic() - self._taken >= self._good_s:
                with self._app.app_context():
                    picture = take_picture()
                self._latest, self._number = msgspec.json.encode(picture), self._number + 1
                self._taken, self._good_s = time.monotonic(), BUSY_S if _moves(picture) else IDLE_S
            return self._number, self._latest


def _moves(picture: Picture) -> bool:
    is_coming = any(not job.processed for job in picture.jobs)
    models = picture.system.models if picture.system is not None else []
    return bool(picture.requests or picture.progress) or is_coming or any(m.state == "unloading" for m in models)
