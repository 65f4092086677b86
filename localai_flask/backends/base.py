"""The verbs of every engine, the job that they are about, and the events that they return.

A backend lives in one model worker and is touched by one thread only, so nothing here locks.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, ClassVar

from localai_flask.backends.takes import Takes
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError
from localai_flask.generation import ModelInfo, Prompt, Reply, Usage
from localai_flask.inquiry import EmbeddedPart, Fact, Question
from localai_flask.sampling_params import SamplingParams

Event = tuple[int, Reply | EmbeddedPart | Fact]
"""The id of a job or an inquiry, and what became of it."""

LoadProgress = Callable[[float], None]
"""Called with the fraction loaded, 0 to 1; the load deadline counts from the last call."""


@dataclass(eq=False)
class Job:
    """The whole truth about one request inside the worker; counts are properties of it."""

    id: int
    prompt: Prompt
    sampling: SamplingParams
    created: float = field(default_factory=time.monotonic)
    prompt_tokens: list[int] = field(default_factory=list)
    ahead: Any = None
    """What other threads have made for `prepare`."""
    prepared: Any = None
    """What the engine has made of it in `prepare`, for `start`."""
    output_tokens: list[int] = field(default_factory=list)
    caller: str = ""
    """Who has sent it, "" if that is not known."""
    num_cached: int = 0
    """How many leading prompt tokens were found in the cache."""
    num_kept: int = 0
    """How many of the other prompt tokens the cache keeps for the time that was asked for."""
    ends_thinking: bool = False
    """Whether its client has said that its thinking is to end now; what limits its thinking looks at this."""
    is_over: bool = False
    """Whether nobody waits for it any more, so that other threads need not make anything for it."""
    counted: Usage | None = None
    """What an engine counts that sees no tokens, as one behind HTTP."""

    @property
    def usage(self) -> Usage:
        if self.counted is not None:
            return self.counted
        prompt, output = len(self.prompt_tokens), len(self.output_tokens)
        return Usage(prompt, output, self.num_cached, kept_tokens=self.num_kept)


@dataclass(eq=False)
class Inquiry:
    """A question inside the worker; its ids are of one kind with those of jobs."""

    id: int
    question: Question
    group: int = 0
    """The id of the first inquiry that was asked together with this one."""
    prepared: Any = None
    """What the engine has made of it ahead, for `ask` or `start_inquiry`."""


class Backend(abc.ABC):
    """One engine holding one model.

    Requests wait in front of it (`pool.worker.requests.front`), which keeps limits and deadlines: an engine looks at
    each when it comes, and is told when to start it. Every started job gets its events from `step`: at most one
    `Started`, any number of `Progress` and `Delta`, and exactly one `Finished` or `Failed`, unless it is cancelled,
    after which it gets nothing more.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"generate"})
    takes: ClassVar[Takes] = Takes()
    """What of requests it honours; all else is refused before `prepare`."""
    last_words: Callable[[ApiError], None] | None = None
    """What to call, from any thread, when the engine's library is about to end the process, with the reason."""
    announce: Callable[[list[Event]], None] | None = None
    """What to call with events that must be out before the next step can go wrong; before a long one, with none."""
    notify: Callable[[], None] | None = None
    """What an engine that `runs_by_itself` calls, from any thread, when `step` has something to collect."""
    is_cautious: bool = False
    """Whether to load without optional speed-ups, as a load with them has killed the process; set before `load`."""

    @abc.abstractmethod
    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        """Load the model and return what it is.

        Raises `ConfigError` or `ModelLoadFailed` with one sentence that names the cause and what to do.
        """

    @abc.abstractmethod
    def prepare(self, job: Job) -> None:
        """Look at a job before it waits; raise an `ApiError` if it can never run (prompt too long, and the like)."""

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        """Have another thread make what `prepare` needs and what takes long, as compiling a constraint may; or None.

        Raises, or its result does, an `ApiError` if the job can never run.
        """
        return None

    @property
    @abc.abstractmethod
    def room(self) -> int:
        """How many more jobs could start now."""

    @abc.abstractmethod
    def start(self, job: Job) -> bool:
        """Begin a prepared job, for which there is room; False leaves it waiting, as it had better start later."""

    def ask_ahead(self, inquiry: Inquiry) -> Future[Any] | None:
        """Have another thread make what `ask` or `start_inquiry` needs, where that takes long; or None.

        Raises, or its result does, an `ApiError` if there can be no answer.
        """
        return None

    def ask(self, inquiry: Inquiry) -> Fact | None:
        """Answer a question at once; None if it takes time, and waits for `start_inquiry`.

        Only asked what the capabilities of the `ModelInfo` name. Raises an `ApiError` if there can be no answer.
        """
        raise NotImplementedError

    @property
    def inquiry_room(self) -> int:
        """How many more inquiries could start now."""
        return 0

    def start_inquiry(self, inquiry: Inquiry) -> None:
        """Begin a question, for which there is room; `step` gives one `Embedded` or `Scored`, or `Failed`."""
        raise NotImplementedError

    @abc.abstractmethod
    def cancel(self, job_id: int) -> None:
        """Forget what was started before the next step and free what it held; an unknown id is no error."""

    @abc.abstractmethod
    def step(self) -> list[Event]:
        """Advance all that was started by about one token; return what changed within some tens of milliseconds."""

    @property
    @abc.abstractmethod
    def is_idle(self) -> bool:
        """Whether nothing is left that was started, so that the loop may sleep until the next command."""

    @property
    def rest_s(self) -> float | None:
        """For how many seconds an idle engine needs no step, which then does what was put off; None: any time."""
        return None

    @property
    def runs_by_itself(self) -> bool:
        """Whether a loop of the engine's own computes what was started, so that `step` only collects."""
        return False

    @property
    def kv_usage(self) -> float | None:
        """The share of the KV cache that running jobs hold (1: all of it); None if the engine does not know.

        Read by another thread, so it may be that of the step before.
        """
        return None

    @property
    def spare_bytes(self) -> int:
        """How much memory holds what is only kept for later, as idle prompts; read by another thread."""
        return 0

    @property
    def reserved_bytes(self) -> int:
        """How much memory it has not used yet and will, as the rest of a cache; read by another thread."""
        return 0

    def give_back(self, size: int) -> None:  # noqa: B027  an engine that keeps nothing has nothing to give back
        """Free about as much of that, as another model needs it; called between two steps."""

    def close(self) -> None:  # noqa: B027  an engine without resources of its own need not say anything
        """Release everything; called once, after the last step."""
