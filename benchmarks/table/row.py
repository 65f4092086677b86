"""A row of the table: what is measured, the aim, and what came of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.table.stage import Stage

ROW_S = 30.0
"""How long a row goes on beginning rounds: about forty of them fit into half an hour."""


class Round(NamedTuple):
    """What one round has measured; `theirs` is None where only this server is asked, and `ratio` is of itself then."""

    ours: float
    theirs: float | None
    ratio: float

    @classmethod
    def of(cls, ours: float, theirs: float) -> Round:
        return cls(ours, theirs, ours / theirs)


Measure = Callable[[Stage], Iterator[Round]]
"""Yields one round after the other, for as long as more are wanted."""


@dataclass(frozen=True)
class Row:
    """One line of the table; the aim is that of the ratio, and `why` says why it is missed, where it is."""

    model: str
    title: str
    measure: Measure
    aim: float
    unit: str = "t/s"
    at_most: bool = False
    rounds: int = 5
    why: str = ""

    @property
    def name(self) -> str:
        return f"{self.model}: {self.title}"

    @property
    def aim_text(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.aim:g}"


@dataclass(frozen=True)
class Result:
    """The medians of a row's rounds, or why there are none."""

    ours: float = 0.0
    theirs: float | None = None
    ratio: float | None = None
    rounds: int = 0
    error: str = ""

    def is_reached(self, row: Row) -> bool:
        if self.ratio is None:
            return False
        return self.ratio <= row.aim if row.at_most else self.ratio >= row.aim


def run(row: Row, stage: Stage, deadline: float) -> Result:
    """Measure a row, in at least one round; it is an error of the row's if a side fails, or if no time is left."""
    if time.monotonic() >= deadline:
        return Result(error="not measured: no time was left")
    rounds: list[Round] = []
    try:
        stage.use(row.model)
        begun = time.monotonic()
        for one in row.measure(stage):
            rounds.append(one)
            if len(rounds) == row.rounds or time.monotonic() > min(begun + ROW_S, deadline):
                break
    except (OSError, RuntimeError, AssertionError, SystemExit) as error:
        return Result(error=" ".join(str(error).split())[-200:] or type(error).__name__)
    theirs = [each.theirs for each in rounds if each.theirs is not None]
    return Result(
        ours=statistics.median(each.ours for each in rounds),
        theirs=statistics.median(theirs) if theirs else None,
        ratio=statistics.median(each.ratio for each in rounds),
        rounds=len(rounds),
    )
