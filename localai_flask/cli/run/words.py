"""Which words of the command line are models, and which are the question."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import NamedTuple

from localai_flask.config import references


class Words(NamedTuple):
    models: list[str]
    prompt: str


def divide(words: Sequence[str], known: Container[str]) -> Words:
    """Divide words: the first is a model; so are those behind it that are known or say where one is, up to another."""
    count = 1
    while count < len(words) and (words[count] in known or _names_place(words[count])):
        count += 1
    return Words(list(words[:count]), " ".join(words[count:]))


def _names_place(word: str) -> bool:
    """Return whether this says where a model is, as `owner/repo` and addresses do."""
    if any(letter.isspace() for letter in word) or "/" not in word:
        return False
    try:
        references.parse(word)
    except ValueError:
        return False
    return True
