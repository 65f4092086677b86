"""Steps that trim a text's ends, and what all steps have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Step(Protocol):
    """One thing that is done to a text; `flush` gives what is left at its end."""

    def feed(self, text: str) -> str: ...

    def flush(self) -> str: ...


class Pipeline:
    """Steps one after the other."""

    def __init__(self, steps: Sequence[Step]):
        self._steps = steps

    def feed(self, text: str) -> str:
        return self._through(text, self._steps)

    def flush(self) -> str:
        text = ""
        for step in self._steps:
            text = (step.feed(text) if text else "") + step.flush()
        return text

    @staticmethod
    def _through(text: str, steps: Sequence[Step]) -> str:
        for step in steps:
            if not text:
                break
            text = step.feed(text)
        return text


class Strip:
    """Takes off white space at both ends."""

    def __init__(self) -> None:
        self._has_begun = False
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        if not self._has_begun:
            text = text.lstrip()
            self._has_begun = bool(text)
        kept = text.rstrip()
        self._held = text[len(kept) :]
        return kept

    def flush(self) -> str:
        return ""


class TrimPrefix:
    """Takes off a beginning."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._held = ""
        self._is_settled = not prefix

    def feed(self, text: str) -> str:
        if self._is_settled:
            return text
        self._held += text
        if len(self._held) < len(self._prefix) and self._prefix.startswith(self._held):
            return ""
        self._is_settled = True
        return self._held.removeprefix(self._prefix)

    def flush(self) -> str:
        return "" if self._is_settled else self._held


class TrimSuffix:
    """Takes off an ending."""

    def __init__(self, suffix: str):
        self._suffix = suffix
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text
        for start in range(max(len(text) - len(self._suffix), 0), len(text)):
            if self._suffix.startswith(text[start:]):
                self._held = text[start:]
                return text[:start]
        self._held = ""
        return text

    def flush(self) -> str:
        return self._held.removesuffix(self._suffix) if self._suffix else self._held
