"""How the command line shows a download: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from localai_flask.cli.output import make_console
from localai_flask.gallery.progress import Progress, Report

LINE_S = 5.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def shown_download(
    name: str, *, at_once: bool = False, verb: str = "Fetching", describe: Callable[[Progress], str] = str
) -> Iterator[Report]:
    """Show what is reported of one download, from its first report on; a bar `at_once` if one will surely come."""
    if not sys.stderr.isatty():
        yield _Lines(f"{verb} {name}", describe)
        return
    bar = _Bar(f"{verb} {name}", at_once, describe)
    try:
        yield bar
    finally:
        bar.close()


class _Lines:
    def __init__(self, title: str, describe: Callable[[Progress], str]):
        self._title, self._describe = title, describe
        self._printed_at = float("-inf")
        self._was_whole = False

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        is_whole = progress.done == progress.total
        if now - self._printed_at >= LINE_S or (is_whole and not self._was_whole):
            self._printed_at, self._was_whole = now, is_whole
            click.echo(f"{self._title}: {self._describe(progress)}", err=True)


class _Bar:
    """A bar of rich; the numbers are those that are reported, as the rate is measured where the bytes come in."""

    def __init__(self, title: str, at_once: bool, describe: Callable[[Progress], str]):
        self._title, self._describe = title, describe
        self._shown: Any = self._open() if at_once else None

    def __call__(self, progress: Progress) -> None:
        if self._shown is None:
            self._shown = self._open()
        total = progress.total if progress.total else None
        self._shown.update(0, completed=progress.done, total=total, state=self._describe(progress))

    def close(self) -> None:
        if self._shown is not None:
            self._shown.stop()

    def _open(self) -> Any:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[state]}", markup=False),
        )
        bars = Bars(*columns, console=make_console(stderr=True), expand=True)
        bars.add_task(self._title, total=None, state="looking it up")
        bars.start()
        return bars
