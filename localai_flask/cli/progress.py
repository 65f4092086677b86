"""How the command line shows a download: a bar on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from localai_flask.gallery.progress import Progress, Report

LINE_S = 5.0
"""Seconds between two lines where there is no terminal."""


@contextmanager
def shown_download(name: str) -> Iterator[Report]:
    """Show what is reported of one download, from its first report on."""
    if not sys.stderr.isatty():
        yield _Lines(name)
        return
    bar = _Bar(name)
    try:
        yield bar
    finally:
        bar.close()


class _Lines:
    def __init__(self, name: str):
        self._name = name
        self._told = float("-inf")

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._told >= LINE_S or progress.done == progress.total:
            self._told = now
            click.echo(f"Fetching {self._name}: {progress}", err=True)


class _Bar:
    """One line that is written anew with each report."""

    WIDTH = 30

    def __init__(self, name: str):
        self._name = name
        self._was_shown = False

    def __call__(self, progress: Progress) -> None:
        filled = round(progress.fraction * self.WIDTH)
        bar = "#" * filled + "-" * (self.WIDTH - filled)
        click.echo(f"\r\x1b[KFetching {self._name} [{bar}] {progress}", nl=False, err=True)
        self._was_shown = True

    def close(self) -> None:
        if self._was_shown:
            click.echo(err=True)
