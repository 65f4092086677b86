"""What stands for the options of a question: texts that the model's tokenizer makes one token of, as an answer begins.

A model may begin its answer with a space or without one, as it was trained; both tokens count for the same label.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Mapping, Sequence

from localai_flask.chat.decisions.question import Question
from localai_flask.errors import InvalidRequest

WORDS = ("Yes", "No")
"""What models answer to the question whether something is true; letters stand for all else."""
LETTERS = tuple(string.ascii_uppercase)
PAIRS = tuple(map("".join, itertools.product(LETTERS, repeat=2)))
"""Many vocabularies have tokens for most of these."""

Tokens = tuple[int, ...]
"""One or two, any of which stands for the label."""


def label_texts(questions: Iterable[Question]) -> list[str]:
    """Return the labels to try for these questions."""
    most = max((len(question.options) for question in questions), default=0)
    return [*WORDS, *LETTERS, *(PAIRS if most > len(LETTERS) else ())]


def spellings(label: str) -> tuple[str, str]:
    """Return how an answer may begin with a label."""
    return label, f" {label}"


def find_labels(before: Sequence[int], behind: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, Tokens]:
    """Return the labels that are one token, and which ones.

    `before` are the tokens of a prompt's end, `behind` those of the same text with each spelling of a label behind it.
    """
    found: dict[str, Tokens] = {}
    used: set[int] = set()
    for label, tokenized in behind.items():
        singles = {
            tokens[-1] for tokens in tokenized if len(tokens) == len(before) + 1 and list(before) == list(tokens[:-1])
        }
        if singles and not singles & used:
            found[label] = tuple(sorted(singles))
            used |= singles
    return found


def labels_of(question: Question, usable: Mapping[str, Tokens], field: str) -> list[str]:
    """Return a label for each option; raise `InvalidRequest` about the `field` if there are not enough."""
    if question.is_statement and all(word in usable for word in WORDS):
        return list(WORDS)
    letters = [label for label in usable if label not in WORDS]
    count = len(question.options)
    if len(letters) < count:
        raise InvalidRequest(
            f"`{field}` has {count} options, but this model's vocabulary has single tokens for {len(letters)} labels "
            "only; ask for fewer, or choose another model.",
            param=field,
        )
    return letters[:count]
