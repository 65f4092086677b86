"""Counting in one process: adding to series, which live in a file of the runtime directory if there is one."""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections.abc import MutableSequence
from pathlib import Path
from typing import cast

from localai_flask.metrics.counts_file import Block, CountsFile, Key
from localai_flask.metrics.families import FAMILIES, Family, Labels

log = logging.getLogger("gunicorn.error")

FOLDER = "counts"
"""In the runtime directory."""


class Counts:
    """Adds to the series of all families; from any thread."""

    def __init__(self, file: CountsFile | None = None):
        self._file = file
        self._lock = threading.Lock()
        self._numbers: MutableSequence[float] = [] if file is None else cast(MutableSequence[float], file.numbers)
        self._begins: dict[tuple[Family, Labels], int] = {}
        self._is_full = False
        for key, begin in file.blocks() if file is not None else ():
            family = FAMILIES.get(key.family)
            if family is not None:
                self._begins[family, key.labels] = begin
                if family.kind == "gauge":  # a former process's
                    self._numbers[begin] = 0.0

    @classmethod
    def open(cls, runtime: Path) -> Counts:
        """Count in the runtime directory of a server; if that has no room, in this process alone."""
        try:
            return cls(CountsFile.open(runtime / FOLDER))
        except OSError as error:
            log.warning("what this process does is counted, but not shown by /metrics: %s", error)
            return cls()

    @property
    def is_shared(self) -> bool:
        """Whether others read the counts from a file."""
        return self._file is not None

    def add(self, family: Family, labels: Labels = (), amount: float = 1.0) -> None:
        """Add to a counter or a gauge."""
        with self._lock:
            begin = self._begin(family, labels)
            if begin is not None:
                self._numbers[begin] += amount

    def prepare(self, family: Family, labels: Labels = ()) -> None:
        """Have a series be there before anything is counted, so that its first increase is seen as one."""
        if (family, labels) not in self._begins:
            self.add(family, labels, 0.0)

    def set(self, family: Family, labels: Labels, value: float) -> None:
        """Set a gauge, which counts for as long as this process lives."""
        with self._lock:
            begin = self._begin(family, labels)
            if begin is not None:
                self._numbers[begin] = value

    def observe(self, family: Family, labels: Labels, value: float, times: int = 1) -> None:
        """Add a value to a histogram, as often as it occurred."""
        with self._lock:
            begin = self._begin(family, labels)
            if begin is not None:
                self._numbers[begin + bisect_left(family.buckets, value)] += times
                self._numbers[begin + len(family.buckets) + 1] += value * times

    def blocks(self) -> list[Block]:
        """Return what this process has counted."""
        with self._lock:
            return [
                Block(Key(family.name, labels), tuple(self._numbers[begin : begin + family.width]))
                for (family, labels), begin in self._begins.items()
            ]

    def _begin(self, family: Family, labels: Labels) -> int | None:
        begin = self._begins.get((family, labels))
        return begin if begin is not None else self._make(family, labels)

    def _make(self, family: Family, labels: Labels) -> int | None:
        if self._is_full:
            return None
        begin: int | None
        if self._file is not None:
            begin = self._file.add(Key(family.name, labels), family.width)
        else:
            begin = len(self._numbers)
            self._numbers.extend([0.0] * family.width)
        if begin is None:
            self._is_full = True
            log.warning("there is no room for more counts; what is new is not counted")
            return None
        self._begins[family, labels] = begin
        return begin
