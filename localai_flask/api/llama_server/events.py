"""The events of models, from one look to the next: the body of the stream at /models/sse.

It begins with how things are, as whoever was cut off for a while has not seen what happened meanwhile.
A key sees the models that it may use; what is fetched is shown to administrators alone, who have it fetched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from localai_flask.api import current
from localai_flask.api.answer.frames import comment, frame
from localai_flask.api.answer.model_status import ModelStatus, progress_of, status_of
from localai_flask.api.answer.sse import PING, guarded
from localai_flask.api.door import auth
from localai_flask.api.live.listeners import join_listeners, leave_listeners
from localai_flask.api.work.watch import Watch, is_draining
from localai_flask.config.folder.registry import Registry
from localai_flask.errors import ApiError
from localai_flask.gallery.jobs import Job, Jobs
from localai_flask.keys.key import Key
from localai_flask.pool.client.pool_client import PoolClient

LOOK_S = 0.5
PING_S = 10.0
EVERY = "*"
"""Instead of a model's name: of all of them."""


class Seen(msgspec.Struct, frozen=True):
    """What one look has shown."""

    statuses: dict[str, ModelStatus]
    jobs: dict[str, Job]


def look(registry: Registry, pool: PoolClient, jobs: Jobs, since: float, key: Key) -> Seen:
    """Look at a key's models, and, for administrators, at the jobs that have not ended or have since a time."""
    models, states, loading = registry.models(), pool.states(), pool.load_progress()
    statuses = {}
    for name in filter(key.may_use, models):
        engine = registry.target_of(models[name]).engine.name
        statuses[name] = status_of(states.get(engine, "cold"), loading.get(engine))
    found = jobs.list() if key.admin else []
    return Seen(statuses, {job.id: job for job in found if not job.has_ended or job.changed_at >= since})


def events_between(before: Seen, now: Seen) -> Iterator[dict[str, Any]]:
    """Yield what has happened between two looks."""
    for name in before.statuses.keys() - now.statuses.keys():
        yield {"model": name, "event": "model_remove"}
    if now.statuses.keys() - before.statuses.keys():
        yield {"model": EVERY, "event": "models_reload"}
    for name, status in now.statuses.items():
        known = before.statuses.get(name)
        if known is not None and known != status:
            yield _status_event(name, status)
    for id, job in now.jobs.items():
        if job.request is not None and job != before.jobs.get(id):
            yield from _events_of(job, before.jobs.get(id))


def _events_of(job: Job, known: Job | None) -> Iterator[dict[str, Any]]:
    name = job.wanted
    if job.has_ended:
        if known is None or not known.has_ended:
            well = job.status == "completed"
            about = {"name": job.name} if well else {"error": job.error or job.status}
            yield {"model": name, "event": "download_finished" if well else "download_failed", "data": about}
    elif known is None or known.status != job.status:
        yield {"model": name, "event": "model_status", "data": {"status": "downloading"}}
    if not job.has_ended and (progress := progress_of(job)):
        yield {"model": name, "event": "download_progress", "data": {"progress": progress}}


def _status_event(name: str, status: ModelStatus) -> dict[str, Any]:
    return {"model": name, "event": "model_status", "data": _status(status)}


def _status(status: ModelStatus) -> dict[str, Any]:
    told: dict[str, Any] = {"status": status.value}
    if status.value == "unloaded":
        told["exit_code"] = status.exit_code
    if status.progress is not None:
        told["progress"] = status.progress
    return told | ({"failed": True} if status.failed else {})


def _frame(event: dict[str, Any]) -> bytes:
    return frame(msgspec.json.encode(event))


class ModelEvents:
    """The body of the stream; it ends when the client leaves or the server stops."""

    def __init__(self, environ: dict[str, Any], jobs: Jobs):
        self._watch = Watch(environ)
        self._registry, self._pool, self._jobs = current.registry(), current.pool(), jobs
        self._begun, self._key = time.time(), auth.key()
        self._seen = self._look()
        self._frames = guarded(self._tell(), self._end, self._watch.record)
        join_listeners()  # last, as nobody closes what could not be made
        self._is_open = True

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        """End the stream; may be called again."""
        if self._is_open:
            self._is_open = False
            leave_listeners()

    def _look(self) -> Seen:
        return look(self._registry, self._pool, self._jobs, self._begun, self._key)

    def _end(self, error: ApiError) -> bytes:
        return _frame({"model": EVERY, "event": "error", "data": {"message": str(error)}})

    def _tell(self) -> Iterator[bytes]:
        known = (_frame(_status_event(name, status)) for name, status in self._seen.statuses.items())
        yield comment("watching") + b"".join(known)  # headers leave with the first bytes
        spoke = time.monotonic()
        while not is_draining():
            time.sleep(LOOK_S)
            self._watch.check()
            seen = self._look()
            frames = b"".join(map(_frame, events_between(self._seen, seen)))
            self._seen = seen
            if frames or time.monotonic() - spoke > PING_S:
                spoke = time.monotonic()
                yield frames or PING
