"""How far a download is, as the lines of a stream that a client of Ollama reads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from localai_flask.api.answer.sse import NDJSON, guarded
from localai_flask.api.ollama.errors import encode_error
from localai_flask.api.ollama.render import line
from localai_flask.api.ollama.shapes import PullProgress
from localai_flask.api.work.watch import Watch, is_draining
from localai_flask.errors import InvalidRequest, ServerShuttingDown
from localai_flask.gallery.jobs import Job, Jobs

LOOK_S = 0.25
BEAT_S = 2.0
PREPARING, VERIFYING, DONE = "pulling manifest", "verifying sha256 digest", "success"


def progress_of(job: Job) -> PullProgress:
    """Return how far a job is, in Ollama's words.

    Clients tell bars by their digests, and take a piece out of their middles: one of what is asked for stands there, as
    the numbers are those of all files together, whose own are not known before they have come.
    """
    told = job.progress
    if told.phase in ("verifying", "completed"):
        return PullProgress(VERIFYING)
    if told.phase != "downloading" or not told.done:
        return PullProgress(f"{PREPARING} (the last try failed: {job.error})" if job.error else PREPARING)
    digest = hashlib.sha256(job.wanted.encode()).hexdigest()
    done = min(told.done, told.total) if told.total else told.done
    return PullProgress(f"pulling {told.file or job.wanted}", f"sha256:{digest}", told.total or 0, done)


class Pull:
    """A download that a request waits for; one that it has started itself is given up when its client leaves."""

    def __init__(self, environ: dict[str, Any], jobs: Jobs, id: str, *, is_own: bool, when_closed: Callable[[], None]):
        self._watch = Watch(environ)
        self._jobs, self._id, self._is_own = jobs, id, is_own
        self._when_closed: Callable[[], None] | None = when_closed
        self._has_ended = False
        self._frames = guarded(self._tell(), lambda error: encode_error(error.info) + b"\n", self._watch.record)

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def wait(self) -> None:
        """Wait for the end; raise why the download has failed."""
        try:
            for _ in self._looks():
                pass
        finally:
            self.close()

    def close(self) -> None:
        """End the stream, and the download if nobody is left who has asked for it; may be called again."""
        when_closed, self._when_closed = self._when_closed, None
        if when_closed is None:
            return
        when_closed()
        if self._is_own and not (self._has_ended or is_draining()):
            self._jobs.cancel(self._id)

    def _tell(self) -> Iterator[bytes]:
        last, spoke = None, time.monotonic()
        for job in self._looks():
            told = progress_of(job)
            if told != last:
                last, spoke = told, time.monotonic()
                yield line(told)
            elif time.monotonic() - spoke > BEAT_S:
                spoke = time.monotonic()
                yield NDJSON.beat(None)
        yield line(PullProgress(DONE))

    def _looks(self) -> Iterator[Job]:
        """Yield the job, again and again until it has ended well."""
        while True:
            job = self._jobs.get(self._id)
            self._has_ended = job.has_ended
            if job.status == "completed":
                return
            if job.has_ended:
                raise InvalidRequest(f"The model could not be fetched: {job.error or job.status}", param="model")
            yield job
            time.sleep(LOOK_S)
            self._watch.check()
            if is_draining():
                raise ServerShuttingDown("The server is shutting down; the download goes on when it is back.")
