"""A request that has a model loaded and wants nothing else of it, and one that has it leave."""

from __future__ import annotations

from flask import request

from localai_flask.api import current
from localai_flask.api.door.places import take_place
from localai_flask.api.work.watch import Watch
from localai_flask.config.model import ModelConfig
from localai_flask.pool.client.inbox import BEAT_S


def load(config: ModelConfig, keep_alive_s: float | None) -> None:
    """Have a model loaded and wait for it; it then stays for `keep_alive_s` (-1: for ever, None: as usual).

    Raises whatever `ApiError` the load ends with, and `ClientLeft`.
    """
    watch = Watch(request.environ)
    watch.record.await_model(config.name)
    session = current.pool().session(config)
    session.keep_alive_s = keep_alive_s
    place = take_place()
    try:
        for _ in session.wait_ready(BEAT_S):
            watch.check()
        session.leave()
    finally:
        place.release()


def leave(config: ModelConfig) -> None:
    """Have a model leave the memory as soon as its requests have ended; nothing if it is not loaded."""
    if current.pool().is_loaded(config):
        session = current.pool().session(config)
        session.keep_alive_s = 0.0
        session.leave()
