"""Images in prompts for the libraries of Hugging Face's folders: where the model's own marks stand in the text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from localai_flask.generation import Prompt

NEEDLE = "words"
"""The text of the messages by which a template shows what it writes for an image."""


def find_placeholder(templated: Any, template: str | None, mark: str) -> str:
    """Return what a model's chat template writes for an image, such as its mark between two others.

    `templated` is the library's tokenizer or processor; `mark` stands in for a template that has no place for images.
    """
    parts = [{"type": "image"}, {"type": "text", "text": NEEDLE}]
    written = []
    for content in (parts[1:], parts):
        try:
            messages = [{"role": "user", "content": content}]
            text = templated.apply_chat_template(messages, chat_template=template, tokenize=False)
        except Exception:  # a template may raise anything
            return mark
        written.append(str(text).partition(NEEDLE)[0])
    without, with_image = written
    shared = next((at for at, pair in enumerate(zip(without, with_image, strict=False)) if pair[0] != pair[1]), None)
    found = with_image[len(without) if shared is None else shared :]
    return found if mark in found else mark


def with_placeholders(prompt: Prompt, texts: list[str]) -> Prompt:
    """Put a text in the place of each image, in which names of control tokens are these."""
    pieces, plain, moved, begin = [], [], 0, 0
    for number, text in enumerate(prompt.texts):
        end = begin + len(text)
        plain += [(first + moved, last + moved) for first, last in _within(prompt.plain, begin, end)]
        pieces.append(text)
        begin = end
        if number < len(texts):
            pieces.append(texts[number])
            moved += len(texts[number])
    return msgspec.structs.replace(prompt, text="".join(pieces), plain=plain, images=[])


def _within(ranges: list[tuple[int, int]], begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of ranges between two places."""
    for first, last in ranges:
        if max(first, begin) < min(last, end):
            yield max(first, begin), min(last, end)
