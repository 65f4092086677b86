"""The batches that this process works on: each has a thread; `tick` is called by the main thread and takes on more."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable

from flask import Flask

from localai_flask.background.batches.allowance import Allowance
from localai_flask.background.batches.work import BatchWork
from localai_flask.metrics.exposition import sum_elsewhere
from localai_flask.metrics.families import OPEN_WORK
from localai_flask.pool.runtime import Runtime
from localai_flask.store.opened import Store

LOOK_S = 0.5
MOST_AT_ONCE = 8
"""Batches side by side, so that a small one need not wait for a large one; of one key half as many."""


class BatchesAtWork:
    """The batches of one background process."""

    def __init__(self, app: Flask, store: Store, home: str, owner: str, count_runs: Callable[[], int]):
        """`count_runs` counts the background responses of this process, which somebody follows as a rule."""
        self._app = app
        self._store = store
        self._home, self._owner = home, owner
        runtime = Runtime.from_environment().path
        self._allowance = Allowance(lambda: sum_elsewhere(OPEN_WORK, runtime) + count_runs())
        self._running: list[BatchWork] = []
        self._look_at = 0.0
        self._has_begun = False

    def tick(self, now: float) -> None:
        """Take on batches that nobody works on; raise `Unavailable` if the database cannot be reached."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        if not self._has_begun:
            self._store.batch_leases.abandon(self._home, but=self._owner)
            self._has_begun = True
        self._running = [work for work in self._running if work.is_alive()]
        while len(self._running) < MOST_AT_ONCE:
            owner = f"{self._owner}/{uuid.uuid4().hex}"  # a batch that was lost may come back to this process
            batch = self._store.batch_leases.claim(owner, self._resting())
            if batch is None:
                return
            work = BatchWork(self._app, batch, owner, self._allowance)
            self._running.append(work)
            work.start()

    def _resting(self) -> list[str]:
        """Return the keepers of half of all that may be worked on, which leaves room for others' batches."""
        at_work = Counter(work.keeper for work in self._running)
        return [keeper for keeper, count in at_work.items() if keeper and count >= MOST_AT_ONCE // 2]

    def give_back(self) -> None:
        """Have all batches left where they are, as the process is about to end."""
        for work in self._running:
            work.leaving.set()

    @property
    def is_at_work(self) -> bool:
        return any(work.is_alive() for work in self._running)
