"""How commands print: tables for people, tab-separated lines for pipes, JSON for programs."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

GAP = 3
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


@dataclass(frozen=True)
class Column:
    """A column of a table; one with `rank` above 0 is left out where the terminal is narrow, the highest first."""

    title: str
    rank: int = 0
    is_number: bool = False


def make_console(*, stderr: bool = False) -> Console:
    """Make a console for the standard output as it is now; rich honours NO_COLOR and TERM."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, empty: str = "") -> None:
    """Print a table that fits the terminal; without one, lines with tabs and no heading, for cut and awk.

    What an `empty` one means is said beside the output.
    """
    if empty and not rows:
        click.echo(empty, err=True)
        return
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    from rich.table import Table

    console = make_console()
    shown = _fitting(columns, rows, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for index in shown:
        justify: Any = "right" if columns[index].is_number else "left"
        table.add_column(columns[index].title, justify=justify, overflow="fold", no_wrap=columns[index].is_number)
    for row in rows:
        table.add_row(*(_escaped(row[index]) for index in shown))
    console.print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _fitting(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Choose the columns that fit beside each other."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, (column.title, *(row[i] for row in rows)))) for i, column in enumerate(columns)]
    shown = list(range(len(columns)))
    while sum(widths[index] + GAP for index in shown) - GAP > width:
        least = max(shown, key=lambda index: columns[index].rank)
        if not columns[least].rank:
            break
        shown.remove(least)
    return shown


def size(count: float) -> str:
    """Return bytes for people, as in 4.9 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.1f} {unit}" if unit != "B" and count < 9.95 else f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """Return a time for people in its largest unit, as in `4 minutes`."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' * (count != 1)}"
    count = int(seconds)
    return f"{count} second{'s' * (count != 1)}"


def age(then: float) -> str:
    """Return how long ago a moment was, as in `3 days ago`."""
    return f"{duration(max(0.0, time.time() - then))} ago" if then else "—"
