"""A pool without processes: it answers each sequence with the next script and remembers what it was asked."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from localai_flask.backends.base import Inquiry
from localai_flask.backends.echo import EchoBackend
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError
from localai_flask.generation import (
    Delta,
    Finished,
    FinishReason,
    ModelInfo,
    Prompt,
    Reply,
    Started,
    TokenLogprob,
    Usage,
)
from localai_flask.inquiry import Question
from localai_flask.pool.client.session import ANY_TERMS
from localai_flask.pool.messages import Terms
from localai_flask.pool.protocol import PoolReport
from localai_flask.sampling_params import SamplingParams

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
Step = Reply | ApiError | None
"""None is silence; an error ends the generation."""


def says(
    *pieces: str,
    reason: FinishReason = FinishReason.EOS,
    prompt_tokens: int = 5,
    completion_tokens: int | None = None,
    cached: int = 0,
    kept: int = 0,
) -> list[Step]:
    """A script that says these pieces, one token each, and ends well."""
    usage = Usage(prompt_tokens, len(pieces) if completion_tokens is None else completion_tokens, cached, 0, kept)
    return [
        Started(prompt_tokens, cached, kept),
        *(Delta(piece, tokens=1) for piece in pieces),
        Finished(reason, usage),
    ]


class FakePool:
    """Stands in for `PoolClient`."""

    def __init__(self) -> None:
        self.scripts: list[list[Step]] = []
        self.info = ModelInfo(
            backend="fake",
            engine_version="1",
            context_length=4096,
            capabilities=frozenset({"generate"}),
            chat_template=CHATML + "{# thoughts stand between <think> and </think> #}",
        )
        self.loading: list[float | ApiError | None] = []
        self.unready: ApiError | None = None
        self.state: dict[str, str] = {}
        self.progress: dict[str, float] = {}
        self.known: dict[str, ModelInfo] = {}
        self.configs: list[ModelConfig] = []
        self.requests: list[tuple[Prompt, SamplingParams]] = []
        self.questions: list[Question] = []
        self.terms: list[Terms] = []
        self.open = 0
        self.cancelled = 0
        self.kept: list[float | None] = []
        self.reports = [PoolReport(models=[], backends=[], memory_budget=None, max_models=0)]
        self.unloaded: list[tuple[str, bool]] = []
        self.likes: Callable[[Prompt, int], float] = lambda prompt, token: 0.1
        """How likely a token follows a prompt, to those who ask for it by its id."""
        self.usages: list[Usage] = [Usage(20, 1)]
        """Of those prompts, one after the other, the last one again and again."""
        self.at_once: list[int] = []
        self.on_event: Callable[[], object] = lambda: None
        """Called before each of a generation's events."""

    def report(self) -> PoolReport:
        """Return the next of the reports, the last one again and again."""
        return self.reports.pop(0) if len(self.reports) > 1 else self.reports[0]

    def unload(self, name: str, *, by_force: bool) -> bool:
        self.unloaded.append((name, by_force))
        return any(model.name == name and model.workers for model in self.reports[0].models)

    def is_loaded(self, config: ModelConfig) -> bool:
        return True

    def session(self, config: ModelConfig) -> FakeSession:
        self.configs.append(config)
        return FakeSession(self)

    def states(self, patience_s: float = 1.0) -> dict[str, str]:
        return self.state

    def load_progress(self) -> dict[str, float]:
        return self.progress

    def infos(self) -> dict[str, ModelInfo]:
        return self.known

    def room(self, name: str, queue_size: int) -> int | None:
        return self.known[name].slots + queue_size if name in self.known else None

    def check(self, timeout: float) -> None:
        if self.unready is not None:
            raise self.unready

    @property
    def prompt(self) -> Prompt:
        return self.requests[-1][0]

    @property
    def sampling(self) -> SamplingParams:
        return self.requests[-1][1]


class FakeSession:
    coming = ""

    def __init__(self, pool: FakePool):
        self._pool = pool
        self.info = pool.info
        self.keep_alive_s: float | None = None

    def wait_ready(self, beat: float = 0.5) -> Iterator[float | None]:
        for progress in self._pool.loading:
            if isinstance(progress, ApiError):
                raise progress
            yield progress

    def leave(self) -> None:
        self._pool.kept.append(self.keep_alive_s)

    def generate(
        self, requests: list[tuple[Prompt, SamplingParams]], terms: Terms = ANY_TERMS, at_once: int = 0
    ) -> FakeGeneration:
        self._pool.requests += requests
        self._pool.terms.append(terms)
        self.leave()
        self._pool.at_once.append(at_once)
        usages = itertools.chain(self._pool.usages, itertools.repeat(self._pool.usages[-1]))
        scripts = [
            self._tells(*request, next(usages)) if request[1].logprob_token_ids else self._pool.scripts.pop(0)
            for request in requests
        ]
        return FakeGeneration(self._pool, scripts)

    def _tells(self, prompt: Prompt, sampling: SamplingParams, usage: Usage) -> list[Step]:
        told = [(token, b"", math.log(self._pool.likes(prompt, token))) for token in sampling.logprob_token_ids]
        delta = Delta("", [TokenLogprob(0, b"", -1.0, told)], 1)
        return [Started(usage.prompt_tokens, usage.cached_tokens), delta, Finished(FinishReason.MAX_TOKENS, usage)]

    def ask(self, questions: Sequence[Question], terms: Terms = ANY_TERMS) -> FakeGeneration:
        """Answer as the echo backend does, unless there are scripts, and the last question first."""
        self._pool.questions += questions
        self._pool.terms.append(terms)
        self.leave()
        if self._pool.scripts:
            return FakeGeneration(self._pool, [self._pool.scripts.pop(0) for _ in questions])
        echo = EchoBackend()
        echo.load(ModelConfig(name="echo"), lambda fraction: None)
        count = len(questions)
        scripts: list[list[Any]] = []
        for index, question in enumerate(questions):
            try:
                answer: Any = echo.ask(Inquiry(index, question))
            except ApiError as error:
                answer = error
            scripts.append([None] * (count - index) + [answer])
        return FakeGeneration(self._pool, scripts)


class FakeGeneration:
    """Takes a step of each script in turn, so that the sequences' events interleave."""

    def __init__(self, pool: FakePool, scripts: list[list[Step]]):
        self._pool = pool
        self._scripts = scripts
        self._closed = False
        self._cancelled: set[int] = set()
        pool.open += 1

    def events(self, beat: float = 0.5) -> Iterator[tuple[int, Reply] | None]:
        for row in itertools.zip_longest(*self._scripts, fillvalue=()):
            for index, step in enumerate(row):
                if step == () or index in self._cancelled:
                    continue
                if isinstance(step, ApiError):
                    raise step
                self._pool.on_event()
                yield None if step is None else (index, step)

    def cancel(self, index: int) -> None:
        self._cancelled.add(index)
        self._pool.cancelled += 1

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._pool.open -= 1


def frames(body: bytes) -> list[str]:
    """Split a stream into its events and comments."""
    assert body.endswith(b"\n\n")
    return body.decode().removesuffix("\n\n").split("\n\n")


def chunks(response: Any) -> list[Any]:
    """The JSON of all data events before [DONE], which must be the last."""
    data = [frame.removeprefix("data: ") for frame in frames(response.data) if frame.startswith("data: ")]
    assert data[-1] == "[DONE]"
    return [json.loads(entry) for entry in data[:-1]]
