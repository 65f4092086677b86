"""Requests side by side, each with a prompt of its own, and what came of them.

Each prompt begins with a word that no other has, so that no cache holds any of it; each answer has the same length.
Tokens are those that the server counts, times are those that the client sees.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from localai_flask.cli.chat.answers import PATH
from localai_flask.cli.client.client import Client
from localai_flask.cli.client.shapes import Chunk, Usage
from localai_flask.cli.client.target import Target
from localai_flask.cli.exit_codes import CommandFailed

WORDS = ("stone", "river", "light", "window", "garden", "paper", "music", "winter", "morning", "story", "bridge")


@dataclass(frozen=True)
class Shape:
    """What each request asks for."""

    model: str
    prompt_words: int
    tokens: int

    def body(self, seed: int) -> dict[str, object]:
        """Return a request that no other is like."""
        draw = random.Random(seed)
        text = f"{draw.getrandbits(64):x} " + " ".join(draw.choice(WORDS) for _ in range(self.prompt_words))
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": self.tokens,
            "ignore_eos": True,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


@dataclass(frozen=True)
class Reply:
    """One answer; times are in seconds since it was asked for."""

    first_s: float
    last_s: float
    usage: Usage

    @property
    def rate(self) -> float:
        """Tokens per second from the first on."""
        return (self.usage.completion_tokens - 1) / max(self.last_s - self.first_s, 1e-9)


class Level(msgspec.Struct):
    """What a number of streams came to; `tokens_per_second` is of all together, in the time of prompts and answers."""

    streams: int
    requests: int
    first_token_s: float
    slowest_first_token_s: float
    tokens_per_second_each: float
    tokens_per_second: float
    prompt_tokens: int
    cached_tokens: int
    tokens: int


def measure(target: Target, shape: Shape, streams: int, rounds: int, seed: int) -> Level:
    """Have `streams` clients ask `rounds` times each, all at once."""
    begun = time.monotonic()
    with ThreadPoolExecutor(streams) as pool:
        asking = [pool.submit(_ask_often, target, shape, rounds, seed + index * rounds) for index in range(streams)]
        replies = [reply for each in asking for reply in each.result()]
    return _sum_up(replies, streams, time.monotonic() - begun)


def ask(client: Client, body: dict[str, object]) -> Reply:
    """Ask once, and note when the first and the last piece came."""
    begun, first, last, usage = time.monotonic(), 0.0, 0.0, None
    for data in client.stream(PATH, body):
        chunk = client.decode(data, Chunk)
        usage = chunk.usage or usage
        texts = [(choice.delta.content or choice.delta.reasoning_content) for choice in chunk.choices]
        if any(texts):
            last = time.monotonic() - begun
            first = first or last
    if usage is None:
        raise CommandFailed("The server does not say how many tokens its answers have, so there is nothing to measure.")
    if usage.completion_tokens < 2 or not first:
        raise CommandFailed(f"The model answered with {usage.completion_tokens} tokens, too few to measure.")
    return Reply(first, last, usage)


def _ask_often(target: Target, shape: Shape, rounds: int, seed: int) -> list[Reply]:
    client = Client(target)
    return [ask(client, shape.body(seed + index)) for index in range(rounds)]


def _sum_up(replies: Sequence[Reply], streams: int, took_s: float) -> Level:
    firsts = [reply.first_s for reply in replies]
    tokens = sum(reply.usage.completion_tokens for reply in replies)
    details = [reply.usage.prompt_tokens_details for reply in replies]
    return Level(
        streams=streams,
        requests=len(replies),
        first_token_s=round(statistics.median(firsts), 4),
        slowest_first_token_s=round(max(firsts), 4),
        tokens_per_second_each=round(statistics.median(reply.rate for reply in replies), 2),
        tokens_per_second=round(tokens / took_s, 2),
        prompt_tokens=round(statistics.median(reply.usage.prompt_tokens for reply in replies)),
        cached_tokens=sum(each.cached_tokens for each in details if each is not None),
        tokens=round(tokens / len(replies)),
    )
