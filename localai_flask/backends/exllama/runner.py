"""What the engine asks of either library, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from localai_flask.backends.exllama.chooser import Chooser


class Update(NamedTuple):
    """What became of a sequence; its tokens are with its chooser."""

    key: int
    is_started: bool = False
    read: int = 0
    """How much of its prompt has been read, if that is the news."""
    error: str = ""


class Runner(Protocol):
    """One of the libraries with a loaded model."""

    version: str
    parallel: int

    def add(self, key: int, ids: list[int], chooser: Chooser, limit: int, ends: list[int]) -> None:
        """Begin a sequence that ends after `limit` tokens or one of `ends`."""

    def drop(self, key: int) -> None:
        """Forget a sequence, which may already have ended."""

    def cached(self, key: int) -> int:
        """Return how many leading tokens of a prompt were found in the cache, once it has begun."""

    def step(self) -> list[Update]:
        """Advance all sequences by about a token."""

    def close(self) -> None: ...


class Jobs:
    """The library's jobs by our keys, and what its results say of them; the same in both libraries."""

    def __init__(self, generator: Any, page: int):
        self._generator, self._page = generator, page
        self._jobs: dict[int, Any] = {}

    def add(self, key: int, job: Any) -> None:
        self._jobs[key] = job
        self._generator.enqueue(job)

    def drop(self, key: int) -> None:
        """Cancel a job, unless the library has ended it."""
        job = self._jobs.pop(key, None)
        if job is not None and not job.is_finished:
            self._generator.cancel(job)

    def cached(self, key: int) -> int:
        job = self._jobs.get(key)
        return int(job.cached_pages * self._page + job.cached_tokens) if job is not None else 0

    def step(self) -> list[Update]:
        results = self._generator.iterate()
        updates = [update for result in results if (update := _read(result)).key in self._jobs]
        for update in updates:
            if update.error:  # the library has forgotten it
                del self._jobs[update.key]
        return updates


class JobRunner:
    """The verbs of a `Runner` that are the same for both libraries."""

    model: Any
    _draft: Any
    _jobs: Jobs

    def drop(self, key: int) -> None:
        self._jobs.drop(key)

    def cached(self, key: int) -> int:
        return self._jobs.cached(key)

    def step(self) -> list[Update]:
        return self._jobs.step()

    def close(self) -> None:
        for model in filter(None, (self.model, self._draft)):
            model.unload()


def _read(result: dict[str, Any]) -> Update:
    key, stage = result["job"].identifier, result["stage"]
    if stage == "error":
        return Update(key, error=str(result["error"]) or type(result["error"]).__name__)
    return Update(key, is_started=stage == "started", read=int(result.get("curr_progress", 0)))


Progress = Callable[[int, int], None]
"""How the libraries say which of how many modules they have loaded."""
