"""What a request says of how it waits: how urgent it is, how long it may take, whether it tells how far it is.

And how long its model is to wait for the next one.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from flask import request

from localai_flask.api import current
from localai_flask.api.door import auth
from localai_flask.api.request.fields import Decimal, Duration, Flag, RequestSchema, Whole
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml.downloads import missing_files
from localai_flask.errors import DeadlineExceeded, ModelComing
from localai_flask.generation import FETCHING_SHARE
from localai_flask.keys.key import ANYONE
from localai_flask.pool.messages import Terms

SHORTEST_S, LONGEST_S = 0.001, 10_000_000.0
FETCH_PATIENCE_S = 0.8
"""How long a request waits anyhow for files that are fetched: less than until the headers of a stream are sent."""
LEAST_RETRY_S, MOST_RETRY_S = 2.0, 60.0
"""What `Retry-After` says then; the official clients pass over more than a minute."""
_PREFERRED = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?([0-9]{1,7})")


@dataclass(frozen=True, slots=True)
class Waiting:
    """The wishes of one request; None where it has none."""

    priority: int | None = None
    timeout_s: float | None = None
    tells_progress: bool = False
    keep_alive_s: float | None = None
    """How long the model is to stay loaded after it (-1: for ever)."""


NO_WISHES = Waiting()


class WaitingFields(RequestSchema):
    priority = Whole(
        -(2**31), 2**31 - 1, metadata={"description": "The lowest is served first; never before what the key allows."}
    )
    timeout = Decimal(
        SHORTEST_S,
        LONGEST_S,
        metadata={"description": "Seconds that loading, waiting and answering may take together."},
    )

    keep_alive = Duration(
        metadata={"description": "How long the model stays loaded then: seconds or 10m; -1: for ever, 0: not at all."}
    )


class ProgressFields(WaitingFields):
    return_progress = Flag(
        load_default=False,
        metadata={"description": "Report in the stream how far loading, waiting and the prompt are, as llama-server."},
    )


def waiting_of(data: Mapping[str, Any]) -> Waiting:
    """Read the wishes from a loaded body."""
    progress, keep_alive_s = data.get("return_progress", False), data.get("keep_alive")
    return Waiting(data.get("priority"), data.get("timeout"), progress, keep_alive_s)


def terms_of(waiting: Waiting, trace: str) -> Terms:
    """Return on what terms the present request waits, or a background run outside of requests; `trace` is its span.

    A key's priority is what its requests have that name none, and the most urgent that they may name.
    """
    key = auth.key()
    priority = key.priority if waiting.priority is None else waiting.priority
    return Terms(
        timeout_s=_timeout_of(waiting),
        caller=key.keeper,
        priority=priority if key == ANYONE else max(priority, key.priority),
        is_background=auth.is_unattended(),
        tells_place=waiting.tells_progress,
        trace=trace,
    )


def time_left(terms: Terms, begun: float) -> Terms:
    """Return the terms of a request once it has waited for its model since `begun`."""
    if terms.timeout_s is None:
        return terms
    left_s = terms.timeout_s - (time.monotonic() - begun)
    return msgspec.structs.replace(terms, timeout_s=max(left_s, 0.0))


def wishes_left(waiting: Waiting, begun: float) -> Waiting:
    """Return the wishes for the second part of a request's work, whose first part began at `begun`."""
    timeout_s = _timeout_of(waiting)
    if timeout_s is None:
        return waiting
    return replace(waiting, timeout_s=max(timeout_s - (time.monotonic() - begun), SHORTEST_S))


def _timeout_of(waiting: Waiting) -> float | None:
    return min(
        (seconds for seconds in (waiting.timeout_s, current.settings().request_timeout) if seconds), default=None
    )


def preferred_wait() -> float:
    """Return how many seconds the request wants to wait for files that are fetched: `Prefer: wait=60` (RFC 7240)."""
    if auth.is_unattended():
        return math.inf
    found = _PREFERRED.search(request.headers.get("Prefer", ""))
    return float(found[1]) if found else 0.0


def check_has_come(
    config: ModelConfig, waiting: Waiting, begun: float, progress: float | None, *, is_engine: bool
) -> None:
    """Raise `ModelComing` if a model's files are fetched, or its engine is installed, and the request does not wait.

    Those that tell how far loading is wait, as do those with a time of their own.
    """
    if waiting.tells_progress or waiting.timeout_s is not None or not (is_engine or config.download_files):
        return
    waited = time.monotonic() - begun
    if waited < FETCH_PATIENCE_S or waited < preferred_wait() or not (is_engine or missing_files(config)):
        return
    done = (progress or 0.0) / FETCHING_SHARE
    left_s = waited / done - waited if done else LEAST_RETRY_S  # what is wrong with an address is known soon
    if is_engine:
        what = f"The {config.backend} backend is being installed for model {config.name}"
        far = f"{100 * done:.0f} % are done" if done > 0.01 else "that has just begun"
    else:
        what = f"The files of model {config.name} are being fetched"
        far = f"{100 * done:.0f} % of them are there" if done else "that has just begun"
    raise ModelComing(
        f"{what} ({far}); try again after the time in `Retry-After`, or send `Prefer: wait=600` to wait.",
        param="model",
        retry_after=min(max(left_s, LEAST_RETRY_S), MOST_RETRY_S),
    )


def check_loading_time(config: ModelConfig, terms: Terms, begun: float, progress: float | None) -> None:
    """Raise `DeadlineExceeded` if the time of a request is over that waits for its model."""
    how = f"was still loading ({100 * progress:.0f} %)" if progress else "was not loaded yet"
    _check_time(terms, begun, f"model {config.name} {how}; allow more time")


def check_reading_time(terms: Terms, begun: float) -> None:
    """Raise `DeadlineExceeded` if the time of a request is over whose documents and images are fetched and read."""
    advice = "allow more time or send less of them"
    _check_time(terms, begun, f"its documents and images were still being fetched or read; {advice}")


def _check_time(terms: Terms, begun: float, what: str) -> None:
    if terms.timeout_s is not None and time.monotonic() - begun >= terms.timeout_s:
        raise DeadlineExceeded(f"The request was not finished in the time it was given, which ended when {what}.")
