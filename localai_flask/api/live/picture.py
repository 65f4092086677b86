"""One picture of the server: models and workers, requests, counts, failures, downloads and the machine.

Each picture is whole, so that whoever missed some, or was connected to another process before, has lost nothing. What
grows is given as it was counted; rates are for the reader to take, from one picture to the next.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Sequence

import msgspec

from localai_flask.api import current
from localai_flask.api.localai import gallery_shapes, system_shapes
from localai_flask.api.pages.requests import ask
from localai_flask.errors import ServerConfigError, Unavailable
from localai_flask.generation import ModelInfo
from localai_flask.machine import available_memory, total_memory
from localai_flask.metrics import families as f
from localai_flask.metrics.exposition import Page, read_folder
from localai_flask.metrics.families import Family
from localai_flask.metrics.in_flight import Failure, Question, Request, by_age
from localai_flask.pool.runtime import ENV, Runtime
from localai_flask.store.place import exists as has_database

SHOWN_REQUESTS, SHOWN_FAILURES = 200, 50
SHOWN_JOB_S = 600.0
"""How long a job that has ended is still shown."""


class Counted(msgspec.Struct):
    """What was counted of one model since the server started; `first_tokens` are the answers that have begun."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    first_tokens: int = 0
    first_tokens_s: float = 0.0
    ended: dict[str, int] = {}


class Loaded(msgspec.Struct):
    """What an engine has said of a model that it has loaded; `slots` are the requests that a worker runs at once."""

    slots: int
    context_length: int
    memory_bytes: int
    given_up: str


class Machine(msgspec.Struct):
    """Bytes of memory, and the load average of the last minute by its processors."""

    memory_total: int
    memory_available: int
    processors: int
    load: float


class Picture(msgspec.Struct):
    """The server at a moment, in seconds since 1970; `system` is null while the pool's manager does not answer.

    `silent` are the processes that did not say in time what they do; `progress` is how far loads are (0 to 1). Of many
    requests in flight the oldest are listed; `states` counts all of them.
    """

    at: float
    system: system_shapes.System | None
    progress: dict[str, float]
    loaded: dict[str, Loaded]
    counted: dict[str, Counted]
    requests: Sequence[Request]
    states: dict[str, int]
    failures: Sequence[Failure]
    silent: list[int]
    jobs: list[gallery_shapes.JobShape]
    machine: Machine


def take_picture() -> Picture:
    """Take a picture; what does not answer is missing in it."""
    told, silent = ask(Question(wants_failures=True))
    now = time.time()
    return Picture(
        at=now,
        system=_system(),
        progress=current.pool().load_progress(),
        loaded={name: _loaded(info) for name, info in current.pool().infos().items()},
        counted=_counted(),
        requests=by_age(told.requests)[:SHOWN_REQUESTS],
        states=Counter(request.state for request in told.requests),
        failures=sorted(told.failures, key=lambda failure: failure.at)[-SHOWN_FAILURES:],
        silent=silent,
        jobs=_jobs(now),
        machine=Machine(total_memory(), available_memory(), os.cpu_count() or 1, round(os.getloadavg()[0], 2)),
    )


def _system() -> system_shapes.System | None:
    try:
        return system_shapes.system(current.pool().report())
    except Unavailable:
        return None


def _loaded(info: ModelInfo) -> Loaded:
    return Loaded(info.slots, info.context_length, info.memory_bytes, info.given_up)


def _jobs(now: float) -> list[gallery_shapes.JobShape]:
    if not has_database(current.settings()):  # whoever only looks makes none
        return []
    try:
        jobs = current.jobs().list()
    except (Unavailable, ServerConfigError):
        return []
    return [gallery_shapes.job(job) for job in jobs if not job.has_ended or now - job.changed_at < SHOWN_JOB_S]


def _counted() -> dict[str, Counted]:
    page, counts = Page(), current.counts()
    if not counts.is_shared:
        page.add(counts.blocks())
    if ENV in os.environ:
        read_folder(page, Runtime.from_environment().path)
    found: defaultdict[str, Counted] = defaultdict(Counted)

    def add(family: Family, field: str) -> None:
        for (model, *_), (number, *_) in page.series(family).items():
            each = found[model]
            setattr(each, field, getattr(each, field) + int(number))

    add(f.PROMPT_TOKENS, "prompt_tokens")
    add(f.CACHED_TOKENS, "cached_tokens")
    add(f.GENERATION_TOKENS, "generated_tokens")
    for (model, *_), (*buckets, total) in page.series(f.FIRST_TOKEN).items():
        found[model].first_tokens += int(sum(buckets))
        found[model].first_tokens_s += total
    for (model, _, reason), (number,) in page.series(f.SUCCESS).items():
        found[model].ended[reason] = int(number)
    return dict(found)
