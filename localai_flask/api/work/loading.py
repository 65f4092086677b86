"""A request that has a model loaded and wants nothing else of it, and one that has it leave."""

from __future__ import annotations

import time

from flask import request

from localai_flask.api import current
from localai_flask.api.door.places import take_place
from localai_flask.api.request.waiting import Waiting, check_loading_time, terms_of
from localai_flask.api.work.watch import Watch
from localai_flask.config.model import ModelConfig
from localai_flask.pool.client.inbox import BEAT_S


def load(config: ModelConfig, waiting: Waiting) -> None:
    """Have a model loaded and wait for it; it then stays for as long as is wished.

    Raises whatever `ApiError` the load ends with, and `ClientLeft`.
    """
    watch, begun = Watch(request.environ), time.monotonic()
    terms = terms_of(waiting, watch.record.trace)
    watch.record.await_model(config.name)
    session = current.pool().session(config)
    session.keep_alive_s = waiting.keep_alive_s
    place = take_place()
    try:
        for progress in session.wait_ready(BEAT_S):
            watch.check()
            check_loading_time(config, terms, begun, progress)
        session.leave()
    finally:
        place.release()


def leave(config: ModelConfig) -> None:
    """Have a model leave the memory as soon as its requests have ended; nothing if it is not loaded."""
    if current.pool().is_loaded(config):
        session = current.pool().session(config)
        session.keep_alive_s = 0.0
        session.leave()
