"""One streamed answer: its text, its thinking, and how fast it came."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Protocol

from localai_flask.cli.client.client import Client
from localai_flask.cli.client.shapes import Chunk, Timings, Usage

PATH = "/v1/chat/completions"


class View(Protocol):
    """Where an answer is shown as it comes."""

    def wait(self, text: str) -> None:
        """Show what is waited for, until the first text comes."""

    def think(self, text: str) -> None:
        """Show a piece of the model's thinking."""

    def say(self, text: str) -> None:
        """Show a piece of the answer."""

    def end(self) -> None:
        """Show what is still held back, and go to a new line."""


@dataclass
class Answer:
    """What has come of an answer so far; times are in seconds."""

    content: str = ""
    finish_reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    timings: Timings | None = None
    first_s: float | None = None
    took_s: float = 0.0
    pieces: int = 0
    is_stopped: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of the answer; pieces where it was stopped before the server could count."""
        return self.usage.completion_tokens or self.pieces

    @property
    def rate(self) -> float | None:
        """Tokens per second while it was written, by the server's clock if it tells, else by ours."""
        if self.timings is not None and self.timings.predicted_per_second:
            return self.timings.predicted_per_second
        writing = self.took_s - (self.first_s or 0.0)
        return (self.tokens - 1) / writing if self.tokens > 1 and writing > 0 else None

    @property
    def summary(self) -> str:
        """Return it for people, as in `42 tokens, 18.3 tokens/s, first after 0.21 s`."""
        parts = [f"{self.tokens} token{'s' * (self.tokens != 1)}"]
        if self.rate is not None:
            parts.append(f"{self.rate:.1f} tokens/s")
        if self.first_s is not None:
            parts.append(f"first after {self.first_s:.2f} s")
        if self.finish_reason == "length":
            parts.append("cut off at max_tokens or the end of the context")
        if self.is_stopped:
            parts.append("stopped")
        return ", ".join(parts)


def read_answer(client: Client, body: dict[str, Any], view: View) -> Answer:
    """Ask for an answer and show it as it comes; Ctrl-C ends it and keeps what has come.

    Raises `CommandFailed` for an error, after what came before it is shown.
    """
    answer, begun = Answer(), time.monotonic()
    stream = client.stream(PATH, {**body, "return_progress": True})
    try:
        with closing(stream):
            for data in stream:
                _take(client.decode(data, Chunk), answer, view, lambda: time.monotonic() - begun)
    except KeyboardInterrupt:
        answer.is_stopped = True
    finally:
        answer.took_s = time.monotonic() - begun
        view.end()
    return answer


def _take(chunk: Chunk, answer: Answer, view: View, clock: Callable[[], float]) -> None:
    answer.usage = chunk.usage or answer.usage
    answer.timings = chunk.timings or answer.timings
    if waited := _waited_for(chunk):
        view.wait(waited)
    for choice in chunk.choices:
        answer.finish_reason = choice.finish_reason or answer.finish_reason
        thought = choice.delta.reasoning_content or choice.delta.reasoning
        content = choice.delta.content
        if thought or content:
            answer.pieces += 1
            if answer.first_s is None:
                answer.first_s = clock()
        if thought:
            view.think(thought)
        if content:
            answer.content += content
            view.say(content)


def _waited_for(chunk: Chunk) -> str:
    if chunk.load_progress is not None:
        return f"loading the model, {chunk.load_progress:.0%}"
    if chunk.queue_place is not None:
        return f"waiting, {chunk.queue_place} in the line"
    if chunk.prompt_progress is not None and chunk.prompt_progress.processed < chunk.prompt_progress.total:
        return f"reading {chunk.prompt_progress.processed} of {chunk.prompt_progress.total} tokens"
    return ""
