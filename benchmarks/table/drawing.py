"""The table as a picture: a bar for each ratio, on a logarithmic scale, with a mark where the aim is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from benchmarks.table.row import Result, Row

LINE, TOP, NAMES, WIDTH, MARGIN = 18, 64, 400, 460, 90
LEAST, MOST = 0.05, 16.0
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10)
REACHED, MISSED, INK, FAINT = "#2e7d32", "#c62828", "#222", "#ddd"
STYLE = "font-family:system-ui,sans-serif;font-size:12px"


def draw(rows: list[Row], results: Mapping[str, Result], title: str, conditions: str) -> str:
    """Return an SVG with the ratios of those rows that have one."""
    shown = [(row, results[row.name]) for row in rows if row.name in results and results[row.name].ratio is not None]
    height = TOP + LINE * len(shown) + 20
    size = f'width="{NAMES + WIDTH + MARGIN}" height="{height}"'
    background = f'<rect width="100%" height="100%" fill="#fff"/><g style="{STYLE}" fill="{INK}">'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        background,
    ]
    parts.append(_text(10, 20, title))
    parts.append(
        _text(10, 38, f"Ratio to llama-server, or to what the row names; the stroke is the aim. {conditions}.")
    )
    parts += _scale(height)
    for number, (row, result) in enumerate(shown):
        parts += _bar(TOP + LINE * number, row, result)
    return "\n".join([*parts, "</g></svg>"]) + "\n"


def _scale(height: int) -> Iterator[str]:
    for tick in TICKS:
        x = _at(tick)
        color = INK if tick == 1 else FAINT
        yield f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{height - 14}" stroke="{color}"/>'
        yield _text(x, TOP - 12, f"{tick:g}", anchor="middle")


def _bar(y: int, row: Row, result: Result) -> Iterator[str]:
    assert result.ratio is not None
    begin, end = sorted((_at(1), _at(result.ratio)))
    color = REACHED if result.is_reached(row) else MISSED
    yield _text(NAMES - 10, y + 12, row.name, anchor="end")
    width = max(end - begin, 1)
    yield f'<rect x="{begin:.1f}" y="{y + 2}" width="{width:.1f}" height="{LINE - 5}" fill="{color}"/>'
    aim = _at(row.aim)
    yield f'<line x1="{aim:.1f}" y1="{y}" x2="{aim:.1f}" y2="{y + LINE - 1}" stroke="{INK}" stroke-width="2"/>'
    yield _text(NAMES + WIDTH + 8, y + 12, f"{result.ratio:.2f} ({row.aim_text})")


def _at(ratio: float) -> float:
    share = math.log(min(max(ratio, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return NAMES + share * WIDTH


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
