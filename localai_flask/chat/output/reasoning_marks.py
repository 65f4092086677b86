"""The marks between which models think, and whether a prompt leaves a model within them already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from localai_flask.generation import ThinkingBudget


class TagPair(NamedTuple):
    """What stands before and behind a model's thinking."""

    start: str
    end: str


HARMONY_ANALYSIS = TagPair("<|channel|>analysis<|message|>", "<|end|>")
"""GPT-OSS; its format of tool calls finds it, among the other channels."""

HARMONY_FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"

KNOWN_PAIRS: tuple[TagPair, ...] = (
    TagPair("<think>", "</think>"),
    TagPair("[THINK]", "[/THINK]"),
    TagPair("<thinking>", "</thinking>"),
    TagPair("<seed:think>", "</seed:think>"),
    TagPair("<|START_THINKING|>", "<|END_THINKING|>"),
    TagPair("<|inner_prefix|>", "<|inner_suffix|>"),
    TagPair("<|channel>thought", "<channel|>"),
    TagPair("<|think|>", "<|end|><|begin|>assistant<|content|>"),
)
"""Qwen, DeepSeek, GLM and many more; Mistral; others in prompts; Seed-OSS; Command; Apertus; Gemma 4; Solar."""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """How one answer's thinking is distinguished from its content.

    `opened` is the pair whose start stands at the end of the prompt, so that the answer begins within it. An answer
    that must have a form may begin with a thought of its own if it `may_begin`. With `is_dropped` the thinking is read
    and not shown.
    """

    pairs: tuple[TagPair, ...] = KNOWN_PAIRS
    opened: TagPair | None = None
    is_dropped: bool = False
    may_begin: bool = True

    @property
    def preserved(self) -> tuple[str, ...]:
        """The marks, which some vocabularies have as control tokens that engines would not show."""
        return tuple(dict.fromkeys(mark for pair in self.pairs for mark in pair))


_TOKENS = re.compile(r"<[|｜]?[^<>\s]*[|｜]?>|\[/?[A-Z_]+\]|\S+")


def control_tokens(marks: Iterable[str]) -> tuple[str, ...]:
    """Return marks and the parts of those that are made of several tags, as vocabularies have one token for each."""
    return tuple(dict.fromkeys(part for mark in marks for part in (mark, *_TOKENS.findall(mark))))


def opened_by(prompt: str, pairs: Sequence[TagPair], starts: Sequence[str] = ()) -> TagPair | None:
    """Return the pair whose start ends the prompt, if one does.

    `starts` are further marks after which a model thinks; one that begins no pair is closed as the first pair is.
    """
    end = prompt[-1000:].rstrip()
    for pair in (*pairs, *(TagPair(start, pairs[0].end) for start in starts)):
        if end.endswith(pair.start):
            return pair
    return None


ENDLESS = 2**31 - 1
"""A limit that no thinking comes to, for what the client may end at any moment."""


def left_open(text: str, pairs: Sequence[TagPair]) -> TagPair | None:
    """Return the pair that a text begins and does not end, if there is one."""
    return next((pair for pair in pairs if text.rfind(pair.start) > text.rfind(pair.end)), None)


def thinking_budget(
    tokens: int | None, reasoning: Reasoning | None, template: str, message: str = ""
) -> ThinkingBudget | None:
    """Return the limit of a model's thinking, in tokens (None or below 0: no limit); None for one that does not think.

    The marks are those of the thinking that the prompt opened, or else the first ones that the template knows. The
    message, if there is one, is the thinking's last sentence.
    """
    if tokens is None or tokens < 0 or reasoning is None:
        return None
    if HARMONY_ANALYSIS.start.partition("analysis")[0] in template and "<|message|>" in template:
        return ThinkingBudget(tokens, HARMONY_ANALYSIS.start, HARMONY_FINAL, message=message)
    pairs = [pair for pair in reasoning.pairs if pair.start in template] or list(reasoning.pairs)
    if not pairs:
        return None
    pair = reasoning.opened or pairs[0]
    return ThinkingBudget(tokens, pair.start, f"\n{pair.end}\n\n", reasoning.opened is not None, message)
