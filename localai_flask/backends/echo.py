"""The echo backend: a deterministic engine without weights, for tests and for trying clients.

It answers with its prompt, or follows a script: where the YAML has the option `scripted`, a prompt that is a JSON
object `{"say": …}` is obeyed (see `Script`). Each token is one byte, so that split characters and stop strings over
several tokens are the normal case.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import signal
import struct
import time
from dataclasses import dataclass
from typing import Literal

import msgspec

from localai_flask import __version__
from localai_flask.backends.base import Backend, Event, Inquiry, Job, LoadProgress
from localai_flask.backends.output.output import Output
from localai_flask.backends.takes import ALL_SAMPLING, Takes
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, ConfigError, ContextOverflow, Unavailable
from localai_flask.generation import (
    Failed,
    Finished,
    FinishReason,
    ModelInfo,
    Progress,
    Prompt,
    PromptLogprobs,
    Started,
    TokenLogprob,
)
from localai_flask.inquiry import Detokenize, Detokenized, Embed, Embedded, Fact, Score, Scored, Tokenized

LAST_MESSAGE = "{{ messages[-1]['content'] }}{# a scripted answer may think between <think> and </think> #}"
OPTIONS = (
    *("slots", "tokens_per_second", "scripted"),
    *("load_seconds", "load_deaf_seconds", "load_error", "load_signal", "fatal_signal"),
)
"""`load_deaf_seconds` holds the interpreter's lock; `load_signal` ends the process unless it loads cautiously,
`fatal_signal` in any case."""


VECTOR_LENGTH = 32
EVEN = -math.log(256)
"""The log-probability of a token if all were equally likely."""


class Script(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to say and how; counts are in tokens, which are bytes."""

    say: str
    chunk: int = 1
    """How many bytes one step says."""
    pace_ms: float = 0.0
    """Time between steps."""
    prefill_ms: float = 0.0
    """Silence before the first token, with progress events."""
    fail_after: int | None = None
    """Fail with an error the client sees."""
    stall_after: int | None = None
    """Stay silent until cancelled."""
    block_after: int | None = None
    """Block the engine thread, like a C call that never returns."""
    raise_after: int | None = None
    """Raise in the engine's loop, like a bug."""
    kill_after: int | None = None
    """End the process with SIGKILL."""
    crash_after: int | None = None
    """End the process by a fault, like a bug in compiled code."""
    on_submit: Literal["", "raise", "panic", "crash", "block"] = ""
    """What to do wrong before the job is queued; a panic is what compiled code raises beside Exception."""


class Panic(BaseException):
    """What pyo3's panics look like to Python."""


@dataclass
class Sequence:
    """One running job."""

    job: Job
    script: Script
    data: bytes
    output: Output
    due: float
    ready_at: float = 0.0
    started: bool = False
    position: int = 0


class EchoBackend(Backend):
    """Runs up to `slots` scripts at a time; its vectors are digests, its scores common words."""

    capabilities = frozenset({"generate", "embed", "score", "tokenize"})
    takes = Takes(ALL_SAMPLING)  # none of which changes what it says

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        for entry in config.options:
            if entry.partition(":")[0] not in OPTIONS:
                raise ConfigError(
                    f"Model {config.name}: the echo backend has no option {entry!r}; it has {', '.join(OPTIONS)}."
                )
        self.name = config.name
        self.scripted = config.option("scripted") == "true"
        self.slots = int(config.option("slots") or 8)
        self.pace_ms = 1000.0 / float(config.option("tokens_per_second") or "inf")
        self.context_length = config.context_size or 8192
        self.running: dict[int, Sequence] = {}
        self._load_slowly(float(config.option("load_seconds") or 0), progress)
        if deaf := config.option("load_deaf_seconds"):
            ctypes.PyDLL(None).sleep(int(deaf))  # unlike CDLL it does not release the lock
        if error := config.option("load_error"):
            raise ConfigError(f"Model {config.name}: {error}")
        if name := config.option("fatal_signal") or (not self.is_cautious and config.option("load_signal")):
            os.kill(os.getpid(), signal.Signals[name])
        return ModelInfo(
            backend="echo",
            engine_version=__version__,
            context_length=self.context_length,
            capabilities=self.capabilities,
            chat_template=LAST_MESSAGE,
            given_up="haste, for which the option load_signal has to go" if self.is_cautious else "",
        )

    def _load_slowly(self, seconds: float, progress: LoadProgress) -> None:
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            progress(passed / seconds)
            time.sleep(0.05)

    def prepare(self, job: Job) -> None:
        self._misbehave_on_submit(self._script(_text(job.prompt)))
        data = _bytes(job.prompt)
        job.prompt_tokens = list(data)
        if len(data) >= self.context_length:
            raise ContextOverflow(len(data), self.context_length)

    @property
    def room(self) -> int:
        return self.slots - len(self.running)

    def start(self, job: Job) -> bool:
        self.running[job.id] = self._begin(job)
        return True

    def ask(self, inquiry: Inquiry) -> Fact | None:
        question = inquiry.question
        if isinstance(question, Detokenize):
            return Detokenized(bytes(token & 0xFF for token in question.tokens).decode("utf-8", "replace"))
        if isinstance(question, Score):
            wanted, there = set(question.query.lower().split()), set(question.document.lower().split())
            score = len(wanted & there) / (len(wanted) or 1)
            return Scored(score, len((question.query + question.document).encode()))
        data = _bytes(question.prompt)
        if not isinstance(question, Embed):
            return Tokenized(list(data), [bytes([byte]) for byte in data] if question.pieces else [])
        if len(data) > self.context_length:
            raise ContextOverflow(len(data), self.context_length)
        return Embedded(_vector(data), VECTOR_LENGTH, len(data))

    def cancel(self, job_id: int) -> None:
        self.running.pop(job_id, None)

    @property
    def is_idle(self) -> bool:
        return not self.running

    def step(self) -> list[Event]:
        self._await_next()
        events: list[Event] = []
        for sequence in list(self.running.values()):
            job = sequence.job
            try:
                replies = self._advance(sequence)
            except ApiError as error:
                replies = [Failed(error.info)]
            if replies and isinstance(replies[-1], Finished | Failed):
                del self.running[job.id]
            events += [(job.id, reply) for reply in replies]
        return events

    def _begin(self, job: Job) -> Sequence:
        script = self._script(_text(job.prompt))
        now = time.monotonic()
        output = Output(job, self.context_length)
        output.started_at = now
        sequence = Sequence(job, script, script.say.encode(), output, due=now)
        sequence.ready_at = now + script.prefill_ms / 1000
        return sequence

    def _script(self, text: str) -> Script:
        if self.scripted and text.lstrip().startswith("{") and '"say"' in text:
            try:
                return msgspec.json.decode(text, type=Script)
            except msgspec.DecodeError:
                pass  # not a script after all: echoed like any other text
        return Script(say=text, pace_ms=self.pace_ms)

    def _await_next(self) -> None:
        """Sleep until a token is due, at most long enough to stay responsive to commands."""
        if self.running:
            soonest = min(sequence.due for sequence in self.running.values())
            time.sleep(min(max(0.0, soonest - time.monotonic()), 0.02))

    def _advance(self, sequence: Sequence) -> list:
        job, now = sequence.job, time.monotonic()
        if not sequence.started:
            sequence.started = True
            started: list = [Started(len(job.prompt_tokens))]
            if job.sampling.prompt_logprobs:
                started.append(PromptLogprobs([TokenLogprob(t, bytes([t]), 0.0) for t in job.prompt_tokens]))
            return started
        if now < sequence.ready_at:
            sequence.due = min(sequence.ready_at, now + 0.02)
            return [Progress(0, len(job.prompt_tokens))]
        if now < sequence.due:
            return []
        sequence.due = now + sequence.script.pace_ms / 1000
        self._misbehave(sequence)
        return self._say(sequence)

    def _say(self, sequence: Sequence) -> list:
        job, stalled = sequence.job, sequence.script.stall_after
        if stalled is not None and sequence.position >= stalled:
            sequence.due = float("inf")
            return []
        piece = sequence.data[sequence.position : sequence.position + sequence.script.chunk]
        logprobs: list[TokenLogprob] = []
        text, reason = "", None
        for token in piece:
            new, reason = sequence.output.take(token, bytes([token]))
            text += new
            sequence.position += 1
            if job.sampling.top_logprobs is not None:
                named = [(other, b"", EVEN) for other in job.sampling.logprob_token_ids]
                logprobs.append(TokenLogprob(token, bytes([token]), 0.0, named))
            if reason is not None:
                break
        if sequence.position == len(sequence.data) and reason is not FinishReason.STOP_SEQUENCE:
            text, reason = text + sequence.output.flush(), FinishReason.EOS
        replies: list = [sequence.output.delta(text, logprobs)] if text or logprobs else []
        return [*replies, sequence.output.finished(reason)] if reason is not None else replies

    def _misbehave_on_submit(self, script: Script) -> None:
        how = script.on_submit
        if how == "raise":
            raise RuntimeError(f"cannot say {script.say!r}, as the script told the echo backend to raise")
        if how == "panic":
            raise Panic(f"cannot say {script.say!r}, as the script told the echo backend to panic")
        if how == "crash":
            signal.raise_signal(signal.SIGSEGV)
        if how == "block":
            time.sleep(3600)

    def _misbehave(self, sequence: Sequence) -> None:
        script, said = sequence.script, sequence.position
        if script.fail_after is not None and said >= script.fail_after:
            raise Unavailable("The script told the echo backend to fail.", retry_after=None)
        if script.raise_after is not None and said >= script.raise_after:
            raise RuntimeError(f"cannot say {script.say!r}, as the script told the echo backend to raise")
        if script.kill_after is not None and said >= script.kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
        if script.crash_after is not None and said >= script.crash_after:
            signal.raise_signal(signal.SIGSEGV)
        if script.block_after is not None and said >= script.block_after:
            time.sleep(3600)


def _text(prompt: Prompt) -> str:
    return prompt.text if prompt.tokens is None else _bytes(prompt).decode("utf-8", "replace")


def _bytes(prompt: Prompt) -> bytes:
    return prompt.text.encode() if prompt.tokens is None else bytes(token & 0xFF for token in prompt.tokens)


def _vector(data: bytes) -> bytes:
    """Make a vector of length 1 out of a digest."""
    numbers = [byte - 127.5 for byte in hashlib.sha256(data).digest()]
    length = sum(number * number for number in numbers) ** 0.5
    return struct.pack(f"<{VECTOR_LENGTH}f", *(number / length for number in numbers))
