"""What a server is after its work: how much memory it has taken, and whether it says the same again."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator

from benchmarks.table.clients import ask, seconds_of, some_tokens
from benchmarks.table.row import Round
from benchmarks.table.stage import Stage, remember

REQUESTS, CLIENTS, DISTINCT = 1000, 8, 20
PROMPTS, TIMES, ANSWER = 10, 4, 32
PROMPT_WORDS = (
    *("Write about the sea.", "What is a lock?", "Count to ten.", "Name three birds.", "Why is the sky blue?"),
    *(
        "Tell a story about a fox.",
        "What is bread made of?",
        "What is ice?",
        "Who reads books?",
        "How do cars work?",
    ),
)


def fresh_memory(stage: Stage) -> Iterator[Round]:
    """Compare the engines' memory, in MB, when they have answered one request."""
    yield Round.of(*_fresh(stage))


def used_memory(stage: Stage) -> Iterator[Round]:
    """Compare the engines' memory, in MB, when they have answered 1,000 requests with 20 different prompts."""
    _fresh(stage)
    yield Round.of(*_used(stage))


def growth(stage: Stage) -> Iterator[Round]:
    """Compare our engine's memory after 1,000 requests with that before."""
    fresh, used = _fresh(stage), _used(stage)
    yield Round(used[0], used[1], used[0] / fresh[0])


def _fresh(stage: Stage) -> tuple[float, float]:
    def measure() -> tuple[float, float]:
        for port in stage.ports:
            _answer(port, stage.model, 0)
        return stage.engine_mb()

    both: tuple[float, float] = remember(stage, "fresh memory", measure)
    return both


def _used(stage: Stage) -> tuple[float, float]:
    def measure() -> tuple[float, float]:
        for port in stage.ports:
            calls = [functools.partial(_answer, port, stage.model, number % DISTINCT) for number in range(REQUESTS)]
            seconds_of(calls, CLIENTS)
        return stage.engine_mb()

    both: tuple[float, float] = remember(stage, "used memory", measure)
    return both


def _answer(port: int, model: str, seed: int) -> None:
    ask(port, "/v1/completions", {"model": model, "prompt": some_tokens(12, seed), "max_tokens": 2})


def repeated_texts(stage: Stage) -> Iterator[Round]:
    """Count the prompts that have the same greedy answer each time, one request after the other."""

    def one(port: int) -> float:
        texts: list[set[str]] = [set() for _ in range(PROMPTS)]
        for _, (number, words) in itertools.product(range(TIMES), enumerate(PROMPT_WORDS)):
            body = {"model": stage.model, "max_tokens": ANSWER, "temperature": 0}
            answer = ask(port, "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": words}]})
            texts[number].add(answer["choices"][0]["message"]["content"])
        return float(sum(len(each) == 1 for each in texts))

    ours, theirs = map(one, stage.ports)
    yield Round(ours, theirs, ours / PROMPTS)
