"""An answer on the terminal: Markdown that grows where it stands, thinking dimmed; or plain text in a pipe.

Only the last block of a text (a paragraph, a list, a table) can still change. It is drawn anew as it grows; all before
it is printed for good, so that the terminal can scroll.
"""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

DRAW_S = 1 / 12
"""Seconds between two drawings at least."""
SPARE_LINES = 2
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
CODE_THEME = "ansi_dark"


class PlainView:
    """Text as it comes, for pipes and files; thinking is not part of an answer."""

    def __init__(self) -> None:
        self._last = ""

    def wait(self, text: str) -> None:
        """Show nothing: what is waited for is no part of the answer."""

    def think(self, text: str) -> None:
        """Leave it out."""

    def say(self, text: str) -> None:
        click.echo(text, nl=False)
        sys.stdout.flush()
        self._last = text or self._last

    def end(self) -> None:
        if self._last and not self._last.endswith("\n"):
            click.echo()


class TerminalView:
    """Markdown and dimmed thinking."""

    def __init__(self, console: Console, *, is_plain: bool = False):
        """`is_plain` shows the text as the model wrote it."""
        self._console = console
        self._answer_text = _as_text if is_plain else _as_markdown
        self._growing: _Growing | None = None
        self._is_thinking = False
        self._status: Any = None

    def wait(self, text: str) -> None:
        if self._growing is not None:
            return
        if self._status is None:
            self._status = self._console.status(f"[dim]{text}[/]", spinner_style="dim")
            self._status.start()
        self._status.update(f"[dim]{text}[/]")

    def think(self, text: str) -> None:
        self._growing_for(True, _as_thinking).add(_printable(text))

    def say(self, text: str) -> None:
        self._growing_for(False, self._answer_text).add(_printable(text))

    def end(self) -> None:
        self._end_status()
        if self._growing is not None:
            self._growing.close()
            self._growing = None

    def _growing_for(self, is_thinking: bool, render: Callable[[str], RenderableType]) -> _Growing:
        if self._growing is None or self._is_thinking is not is_thinking:
            had_another = self._growing is not None
            self.end()
            if had_another:
                self._console.print()
            self._growing, self._is_thinking = _Growing(self._console, render), is_thinking
        return self._growing

    def _end_status(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None


class _Growing:
    """A text that grows: what can no longer change is printed, the rest is drawn again and again."""

    def __init__(self, console: Console, render: Callable[[str], RenderableType]):
        from rich.live import Live

        self._console, self._render = console, render
        self._text = ""
        self._gap: list[Any] = []
        """What stands before the next block: an empty line, unless it is the first."""
        self._printed = 0
        """Lines of the blocks that can still change which are printed, as these are higher than the terminal."""
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop")
        self._live.start()

    def add(self, text: str) -> None:
        self._text += text
        if time.monotonic() - self._drawn >= DRAW_S:
            self._draw()

    def close(self) -> None:
        """Print what is left."""
        self._live.update("")
        self._live.stop()
        for block in _blocks(self._text):
            self._finish(block)

    def _draw(self) -> None:
        # A line that has just begun says not yet what it is: `2` may become an item of the list above it.
        for block in _blocks(self._text[: self._text.rfind("\n") + 1])[:-1]:
            self._finish(block)
            self._text = self._text[len(block) :]
        lines, gap = [], self._gap
        for block in _blocks(self._text):
            lines += self._lines(block, gap)
            gap = [[]]
        del lines[: self._printed]
        excess = max(0, len(lines) - max(3, self._console.height - SPARE_LINES))
        self._print(lines[:excess])
        self._printed += excess
        self._live.update(_joined(lines[excess:]), refresh=True)
        self._drawn = time.monotonic()

    def _finish(self, block: str) -> None:
        lines = self._lines(block, self._gap)
        self._print(lines[self._printed :])
        self._printed = max(0, self._printed - len(lines))
        self._gap = [[]] if lines else self._gap

    def _print(self, lines: list[Any]) -> None:
        if lines:
            self._console.print(_joined(lines), end="")

    def _lines(self, block: str, gap: list[Any]) -> list[Any]:
        """Render a block to lines of the terminal, without empty ones and spaces at its ends."""
        text = block.strip("\n")
        lines = [_trimmed(line) for line in self._console.render_lines(self._render(text), pad=False)] if text else []
        filled = [index for index, line in enumerate(lines) if line]
        return gap + lines[filled[0] : filled[-1] + 1] if filled else []


def _trimmed(line: list[Any]) -> list[Any]:
    """Take the spaces off the end of a line, so that what is copied has none."""
    from rich.segment import Segment

    line = list(line)
    while line and not line[-1].text.strip():
        line.pop()
    if line:
        line[-1] = Segment(line[-1].text.rstrip(), line[-1].style)
    return line


def _printable(text: str) -> str:
    """Take out control characters: what a model writes must not steer the terminal."""
    return CONTROLS.sub("", text)


def _joined(lines: list[Any]) -> RenderableType:
    from rich.segment import Segment, Segments

    return Segments([segment for line in lines for segment in (*line, Segment.line())])


def _as_markdown(text: str) -> RenderableType:
    from rich.markdown import Markdown

    return Markdown(text, code_theme=CODE_THEME)


def _as_text(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text)


def _as_thinking(text: str) -> RenderableType:
    from rich.text import Text

    return Text(text, style="dim italic")


def _blocks(text: str) -> list[str]:
    """Divide Markdown into its blocks, the white space behind each included."""
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    starts = [token.map[0] for token in tokens if token.level == 0 and token.map is not None and token.nesting >= 0]
    lines = re.findall(r"[^\n]*\n|[^\n]+", text)  # as Markdown counts them: `splitlines` knows more ends
    bounds = [0, *starts[1:], len(lines)]
    return ["".join(lines[begin:end]) for begin, end in itertools.pairwise(bounds)]
