"""What is asked about a text, and how it is put to a model: pure text, without anything of a request or a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

TRUE, FALSE = range(2)
"""The options of a statement."""


@dataclass(frozen=True, slots=True)
class Option:
    """One of the possible answers, and what it means, if that is said."""

    text: str
    description: str = ""

    @property
    def shown(self) -> str:
        return f"{self.text}: {self.description}" if self.description else self.text


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its options, which a scale has in its order; `is_statement` asks whether something is true."""

    instructions: str
    options: tuple[Option, ...]
    is_statement: bool = False

    @property
    def size(self) -> int:
        """How many characters are shown of it, without labels."""
        return len(self.instructions) + sum(len(option.shown) for option in self.options)

    def orders(self, most: int) -> Iterator[tuple[int, ...]]:
        """Yield up to `most` orders in which the options are shown: their own, and others that begin further on.

        After as many orders as there are options, each has stood once in every place.
        """
        count = len(self.options)
        for first in range(min(most, count)):
            yield tuple((first + place) % count for place in range(count))

    def placed(self, order: Sequence[int], labels: Sequence[str]) -> list[str]:
        """Return labels in the order in which they are shown: letters always, words with the options that they mean."""
        are_words = list(labels) == [option.text for option in self.options]
        return [labels[option] for option in order] if are_words else list(labels)

    def written(self, order: Sequence[int], labels: Sequence[str]) -> str:
        """Write the question as the model reads it; the labels are those of the options, in this order."""
        asked = f"Is this true of the text above? {self.instructions}" if self.is_statement else self.instructions
        options = [self.options[option] for option in order]
        if list(labels) == [option.text for option in options]:
            meanings = [option.shown for option in options if option.description]
            return "\n".join((asked, *meanings, f"Answer with {' or '.join(labels)} only."))
        lines = [f"{label}) {option.shown}" for label, option in zip(labels, options, strict=True)]
        return "\n".join((asked, "", "Options:", *lines, "", "Answer with the letter of the option that fits best."))


def statement(instructions: str, if_true: str = "", if_false: str = "") -> Question:
    """Return the question whether a statement is true, and what true and false mean, if that is said."""
    return Question(instructions, (Option("Yes", if_true), Option("No", if_false)), is_statement=True)
