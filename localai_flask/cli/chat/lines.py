"""What the user types: lines with a history, completion of what begins with `/`, and texts of several lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from localai_flask.user_folders import state_file

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

QUOTES = '"""'
FIRST, NEXT = ">>> ", "... "


class Lines(Protocol):
    """Where lines come from; `EOFError` when there are no more, `KeyboardInterrupt` when one is given up."""

    def read(self, mark: str) -> str: ...


class TerminalLines:
    """Lines that are edited on the terminal; Alt-Enter begins another line of the same text."""

    def __init__(self, words: Sequence[str], history: Path):
        self._session: PromptSession[str] = _open_session(words, history)

    def read(self, mark: str) -> str:
        return self._session.prompt(mark)


def read_text(lines: Lines) -> str:
    """Read one text: a line, or all lines between triple quotes."""
    line = lines.read(FIRST)
    if not line.lstrip().startswith(QUOTES):
        return line.strip()
    parts = [line.lstrip().removeprefix(QUOTES)]
    while not parts[-1].rstrip().endswith(QUOTES):
        parts.append(lines.read(NEXT))
    parts[-1] = parts[-1].rstrip().removesuffix(QUOTES)
    return "\n".join(parts).strip("\n")


def history_file() -> Path:
    """Return where the history is kept, in a folder that is there."""
    return state_file("chat_history")


def _open_session(words: Sequence[str], history: Path) -> PromptSession[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    if not history.exists():
        os.close(os.open(history, os.O_WRONLY | os.O_CREAT, 0o600))
    return PromptSession(
        history=FileHistory(str(history)),
        completer=WordCompleter(list(words), sentence=True),
        complete_while_typing=False,
        key_bindings=keys,
    )
