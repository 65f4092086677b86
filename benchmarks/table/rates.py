"""Rates of many requests: the workloads of `benchmarks/workloads.py`, sent to both sides in turns."""

from __future__ import annotations

import functools
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from benchmarks.table.clients import Stream, ask, seconds_of, some_tokens
from benchmarks.table.row import Measure, Round
from benchmarks.table.stage import Stage, busy

COMMON_TOKENS, OWN_TOKENS, CLIENTS = 1000, 20, 8
TOOLS = 40
LONG_STREAM = 3000


def rate(port: int, model: str, arguments: str, figure: str, seed: int) -> float:
    """Run one workload in a process of its own, and return one of its figures; raise `RuntimeError` if it fails."""
    command = [sys.executable, "-m", "benchmarks.workloads", str(port), "--model", model, "--seed", str(seed)]
    done = subprocess.run([*command, *arguments.split()], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return float(result[figure])


def workload(arguments: str, figure: str = "tokens_per_s", *, beside: int = 0) -> Measure:
    """Compare a workload's figure, with a number of processes beside it that compute all the time."""

    def measure(stage: Stage) -> Iterator[Round]:
        for port in stage.ports:
            rate(port, stage.model, _short(arguments), figure, 0)
        for seed in itertools.count(1):
            with busy(beside) if beside else nullcontext():
                ours, theirs = (rate(port, stage.model, arguments, figure, seed) for port in stage.ports)
            yield Round.of(ours, theirs)

    return measure


def _short(arguments: str) -> str:
    """Return a workload that warms up, with an answer of a few tokens."""
    words = arguments.split()
    kind = words[words.index("--workload") + 1]
    return f"--workload {kind} --requests 1 --tokens 32"


def decode(streams: int, requests: int, tokens: int, *, beside: int = 0) -> Measure:
    """Compare tokens per second of streams with short prompts."""
    shape = f"--clients {streams} --requests {requests} --tokens {tokens}"
    return workload(f"--workload decode {shape}", beside=beside)


def common_prompt(*, is_cached: bool) -> Measure:
    """Compare clients whose prompts begin with the same 1,000 tokens: new ones, or some that both sides have cached."""

    def one(stage: Stage, port: int, common: list[int], seed: int) -> float:
        prompts = [common + some_tokens(OWN_TOKENS, 1000 * seed + client) for client in range(CLIENTS)]
        body = {"model": stage.model, "max_tokens": 4, "ignore_eos": True}
        calls = [functools.partial(ask, port, "/v1/completions", {**body, "prompt": each}) for each in prompts]
        return CLIENTS / seconds_of(calls, CLIENTS)

    def measure(stage: Stage) -> Iterator[Round]:
        cached = some_tokens(COMMON_TOKENS, 77)
        if is_cached:
            for port in stage.ports:
                one(stage, port, cached, 78)
        for seed in itertools.count(100 + is_cached):
            common = cached if is_cached else some_tokens(COMMON_TOKENS, seed)
            yield Round.of(*(one(stage, port, common, seed) for port in stage.ports))

    return measure


def many_tools(stage: Stage) -> Iterator[Round]:
    """Compare chats that may call 40 tools, of which the prompt is cached: whole short answers per second."""
    names = (f"{verb}_{what}" for verb in ("list", "read", "write", "move", "find") for what in _THINGS)
    tools = [_tool(name) for name in itertools.islice(names, TOOLS)]
    body = {"model": stage.model, "tools": tools, "tool_choice": "auto", "max_tokens": 24, "temperature": 0}

    def one(port: int, question: str) -> dict[str, Any]:
        messages = [{"role": "user", "content": question}]
        return ask(port, "/v1/chat/completions", {**body, "messages": messages})

    for port in stage.ports:
        one(port, "Hello, who are you?")
    for number in itertools.count():
        calls = [f"Say what {word} means, question {number}." for word in ("port", "disk", "page", "lock")]
        ours, theirs = (
            len(calls) / seconds_of([functools.partial(one, port, call) for call in calls], 1) for port in stage.ports
        )
        yield Round.of(ours, theirs)


_THINGS = ("file", "folder", "issue", "branch", "commit", "page", "table", "message")


def _tool(name: str) -> dict[str, Any]:
    verb, _, what = name.partition("_")
    text = {"type": "string"}
    properties = {what: {**text, "description": f"Which {what} to {verb}."}, "limit": {"type": "integer"}}
    parameters = {"type": "object", "properties": properties, "required": [what]}
    description = f"{verb.title()} a {what} of the server and return what came of it."
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


def embeddings(*, beside_stream: bool) -> Measure:
    """Compare tokens of texts that become vectors per second, alone or while one stream runs on the same server."""
    arguments = "--workload embed --clients 2 --requests 4"

    def one(stage: Stage, port: int, seed: int) -> float:
        if not beside_stream:
            return rate(port, stage.model, arguments, "prompt_tokens_per_s", seed)
        stream = Stream(port, stage.model, some_tokens(20, seed), LONG_STREAM)
        stream.await_pieces(4)
        try:
            return rate(port, stage.model, arguments, "prompt_tokens_per_s", seed)
        finally:
            stream.stop()

    def measure(stage: Stage) -> Iterator[Round]:
        for seed in itertools.count(1):
            yield Round.of(*(one(stage, port, seed) for port in stage.ports))

    return measure
