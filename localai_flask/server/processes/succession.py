"""Who serves while web workers are renewed: the old ones until a new one is ready; then they end what they have begun.

gunicorn would have the old ones leave at once, so that nobody takes a connection while the application starts, and
would end their streams when the time for stopping is over. Here they see for themselves when they are relieved, in
memory that the arbiter shares with all whom it forks.
"""

from __future__ import annotations

import mmap

OUTDATED, RENEWED, READY = range(3)


class Succession:
    """gunicorn numbers its workers as it forks them; this number is their age."""

    def __init__(self) -> None:
        self._ages = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    def renew(self, age: int) -> None:
        """Have the workers up to this age leave as soon as there is one after them. The arbiter alone does so."""
        self._ages[OUTDATED], self._ages[RENEWED] = self._ages[RENEWED], age

    def is_renewed(self, age: int) -> bool:
        """Return whether the worker of this age has been, or is being, replaced."""
        return age <= self._ages[RENEWED]

    def is_outdated(self, age: int) -> bool:
        """Return whether the worker of this age has been renewed, and so have those that came after it."""
        return age <= self._ages[OUTDATED]

    def take_over(self, age: int) -> None:
        """Note that the worker of this age serves."""
        self._ages[READY] = max(age, self._ages[READY])

    def is_relieved(self, age: int) -> bool:
        """Return whether the worker of this age need take no more connections."""
        return age <= self._ages[RENEWED] < self._ages[READY]


web_workers = Succession()
"""That of the running server: made before the first fork."""
