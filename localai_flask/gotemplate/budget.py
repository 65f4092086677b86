"""What one rendering may use: steps, characters and nesting. Everything that loops or grows asks here first."""

from __future__ import annotations

from localai_flask.gotemplate.errors import Fault

CHARS_PER_STEP = 32
"""Reading or making this many characters counts as one step, so that work on long strings is bounded too."""

MAX_DEPTH = 100
"""Nesting of blocks, parentheses and templates within each other, and of lists and maps; Python's stack is short."""


class Budget:
    """Steps and characters that are left, and how deep the template is in itself."""

    __slots__ = ("depth", "max_output", "max_steps", "steps_left")

    def __init__(self, max_steps: int, max_output: int):
        self.max_steps, self.max_output = max_steps, max_output
        self.steps_left = max_steps
        self.depth = 0

    def spend(self, steps: int = 1) -> None:
        """Count steps; raises `Fault` when there are none left."""
        self.steps_left -= steps
        if self.steps_left < 0:
            raise Fault(f"the template takes more than the allowed {self.max_steps} steps (max_steps)")

    def make(self, characters: int) -> None:
        """Count a string about to be made or read; raises `Fault` if it is longer than the whole output may be."""
        if characters > self.max_output:
            raise Fault(f"the template makes more than the allowed {self.max_output} characters (max_output)")
        if characters >= CHARS_PER_STEP:
            self.spend(characters // CHARS_PER_STEP)

    def enter(self) -> None:
        """Go one level deeper, until `leave`; raises `Fault` if that is too deep."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Fault(f"blocks and templates are nested more than the allowed {MAX_DEPTH} deep")

    def leave(self) -> None:
        self.depth -= 1


class Writer:
    """Text put together piece by piece, never longer than the budget's output."""

    __slots__ = ("_budget", "_length", "_pieces")

    def __init__(self, budget: Budget):
        self._budget = budget
        self._pieces: list[str] = []
        self._length = 0

    def write(self, piece: str) -> None:
        self._length += len(piece)
        if self._length > self._budget.max_output:
            self._budget.make(self._length)
        self._pieces.append(piece)

    def text(self) -> str:
        return "".join(self._pieces)
