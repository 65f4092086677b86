"""How long clients wait: for a first token, beside others' prompts, and after everything was killed."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from typing import NamedTuple

from benchmarks.table.clients import ENDLESS, Stream, first_token_s, some_tokens
from benchmarks.table.row import Measure, Round
from benchmarks.table.stage import Stage, remember

IDLE_TOKENS = 100
BEHIND_TOKENS, SHORT_TOKENS = 2000, 20
HEAD_START_S = 0.3
SETTLED_S = 5.0
"""How long a server is left in peace before it is killed: what it keeps on disk is written when it is idle."""


def first_token(tokens: int) -> Measure:
    """Compare the milliseconds to the first token of a new prompt on an idle server."""

    def measure(stage: Stage) -> Iterator[Round]:
        for port in stage.ports:
            first_token_s(port, stage.model, some_tokens(SHORT_TOKENS, 5))
        for seed in itertools.count(10_000 + tokens):
            prompt = some_tokens(tokens, seed)
            ours, theirs = (1e3 * first_token_s(port, stage.model, prompt) for port in stage.ports)
            stage.remembered[f"cold {tokens}"] = prompt, ours
            yield Round.of(ours, theirs)

    return measure


def behind_a_long_prompt(stage: Stage) -> Iterator[Round]:
    """Compare the milliseconds to the first token of a short prompt that comes while a long one is computed."""

    def one(port: int, seed: int) -> float:
        long = Stream(port, stage.model, some_tokens(BEHIND_TOKENS, seed), 2)
        time.sleep(HEAD_START_S)
        short = first_token_s(port, stage.model, some_tokens(SHORT_TOKENS, seed + 1))
        long.wait()
        return 1e3 * short

    for seed in itertools.count(20_000, 2):
        yield Round.of(*(one(port, seed) for port in stage.ports))


class Beside(NamedTuple):
    """A stream beside a long prompt: its gaps, and how long the prompt took alone and beside it, in seconds."""

    idle_gap: float
    p99_gap: float
    alone: float
    beside: float


def _beside(port: int, model: str, tokens: int) -> Beside:
    first, other = some_tokens(tokens, 30_000), some_tokens(tokens, 30_001)
    short = some_tokens(SHORT_TOKENS, 30_002)
    idle = statistics.median(Stream(port, model, short, IDLE_TOKENS).wait().gaps)
    alone = first_token_s(port, model, first)
    stream = Stream(port, model, short, ENDLESS)
    try:
        stream.await_pieces(8)
        begun = time.perf_counter()
        beside = first_token_s(port, model, other)
        ended = begun + beside
        times = [at for at in stream.times[1:] if begun <= at <= ended]
    finally:
        stream.stop()
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise([begun, *times, ended]))
    return Beside(idle, gaps[min(int(0.99 * len(gaps)), len(gaps) - 1)], alone, beside)


def _both(stage: Stage, tokens: int, *, with_peer: bool) -> list[Beside]:
    ports = stage.ports if with_peer else stage.ports[:1]
    return [_beside(port, stage.model, tokens) for port in ports]


def gap_beside(tokens: int, *, with_peer: bool) -> Measure:
    """Compare the 99th percentile of a stream's gaps beside a prompt with its usual gap; figures are milliseconds."""

    def measure(stage: Stage) -> Iterator[Round]:
        both: list[Beside] = remember(stage, f"beside {tokens}", lambda: _both(stage, tokens, with_peer=with_peer))
        gaps = [1e3 * each.p99_gap for each in both]
        yield Round(gaps[0], gaps[1] if with_peer else None, both[0].p99_gap / both[0].idle_gap)

    return measure


def loss_beside(tokens: int, *, with_peer: bool) -> Measure:
    """Compare how much slower a prompt is beside a stream than alone; figures are per cent."""

    def measure(stage: Stage) -> Iterator[Round]:
        both: list[Beside] = remember(stage, f"beside {tokens}", lambda: _both(stage, tokens, with_peer=with_peer))
        losses = [100 * (1 - each.alone / each.beside) for each in both]
        yield Round(losses[0], losses[1] if with_peer else None, losses[0] / 100)

    return measure


def after_a_kill(tokens: int) -> Measure:
    """Compare the second turn of a chat, after every process was killed, with its first; figures are milliseconds."""

    def measure(stage: Stage) -> Iterator[Round]:
        if f"cold {tokens}" not in stage.remembered:
            prompt = some_tokens(tokens, 40_000)
            stage.remembered[f"cold {tokens}"] = prompt, 1e3 * first_token_s(stage.ports[0], stage.model, prompt)
        prompt, cold = stage.remembered[f"cold {tokens}"]
        time.sleep(SETTLED_S)
        stage.kill_ours()
        again = 1e3 * first_token_s(stage.ports[0], stage.model, prompt + some_tokens(SHORT_TOKENS, 1))
        yield Round(again, None, again / cold)

    return measure
