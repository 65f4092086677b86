"""Deletes from the database what is old or too much, a little at each step, so that nothing else waits for it long."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from localai_flask.settings import Settings
from localai_flask.store.batches import batches
from localai_flask.store.files import forget_expired
from localai_flask.store.opened import Store
from localai_flask.store.responses import retention

LOOK_S = 30.0


class Housekeeping:
    """`tick` is called by the main thread, and takes at most one step: one short transaction."""

    def __init__(self, store: Store, settings: Settings, forget_jobs: Callable[[], None]):
        """`forget_jobs` deletes installations that ended long ago."""
        self.settings = settings
        """Replaced when settings change."""
        self._store = store
        self._forget_jobs = forget_jobs
        self._steps: Iterator[object] = iter(())
        self._look_at = 0.0

    def tick(self, now: float) -> None:
        """Go on, or look for what is old if it is time to; raise `Unavailable` if the database cannot be reached."""
        for _ in self._steps:
            return
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            self._steps = self._forget()

    def _forget(self) -> Iterator[object]:
        database = self._store.database
        yield from retention.forget_old(database, self.settings)
        self._forget_jobs()
        yield from forget_expired(database)
        yield from batches.forget_old(database)
