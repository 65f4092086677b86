"""Work with one model, for one request of a client: have it loaded, find its worker, and run sequences there.

No method waits without a beat: iterators yield at least every `beat` seconds, so that the caller can tell whether its
own client is still there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence

import msgspec

from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ModelFileChanging, Unavailable
from localai_flask.generation import ModelInfo, Prompt
from localai_flask.inquiry import Question
from localai_flask.pool.channel import ChannelGone
from localai_flask.pool.client.balance import Choice, choose
from localai_flask.pool.client.directory import DirectoryThread
from localai_flask.pool.client.generation import Generation
from localai_flask.pool.client.inbox import BEAT_S
from localai_flask.pool.client.worker_links import WorkerLink, WorkerLinks
from localai_flask.pool.messages import Ask, Generate, Terms
from localai_flask.pool.protocol import Coming, ModelStatus, WorkerAddress
from localai_flask.sampling_params import SamplingParams

MANAGER_ABSENCE_S = 10.0
"""How long a request waits for a manager that does not answer, or for a worker that cannot be reached."""
QUIET_PATIENCE_S = 5.0
"""How long a request waits for a file that is as long as it should be, and has not been quiet for long enough."""
QUIET_LOOK_S = 0.25
ANY_TERMS = Terms()


class Session:
    """Work with one model, for one request of a client."""

    def __init__(
        self,
        config: ModelConfig,
        directory: DirectoryThread,
        links: WorkerLinks,
        last_look: Callable[[ModelConfig], Look],
    ):
        self.config = config
        self._last_look = last_look
        self._directory = directory
        self._links = links
        self._info: ModelInfo | None = None
        self._avoided: set[str] = set()
        self.keep_alive_s: float | None = None
        """How long the model is to stay loaded after this request (-1: for ever); None: as long as usual."""

    @property
    def info(self) -> ModelInfo:
        """What the model is; known once `wait_ready` has ended."""
        assert self._info is not None, "wait_ready comes first"
        return self._info

    @property
    def coming(self) -> Coming:
        """What its load waits for that has to be fetched first."""
        status = self._directory.status(self.config.key)
        return status.coming if status is not None else ""

    def wait_ready(self, beat: float = BEAT_S) -> Iterator[float | None]:
        """Have the model loaded if it is not, yielding the progress (0 to 1) at least every `beat` seconds meanwhile.

        Raises the load's error, or `Unavailable` if the pool manager stays away.
        """
        status = self._directory.status(self.config.key)
        if status is not None and status.info is not None and self._reachable(status):
            self._info = status.info
            return
        look = yield from self._look(beat)
        self._directory.want(self.config, look)
        try:
            yield from self._wait_loaded(beat)
        finally:
            self._directory.unwant(self.config)

    def _look(self, beat: float) -> Generator[None, None, Look]:
        """Look at the models folder, and wait a moment for a model whose file has just come to its end."""
        patience = time.monotonic() + QUIET_PATIENCE_S
        while True:
            try:
                return self._last_look(self.config)
            except ModelFileChanging as error:
                if not error.is_whole or time.monotonic() > patience:
                    raise
            time.sleep(min(beat, QUIET_LOOK_S))
            yield None

    def _wait_loaded(self, beat: float) -> Iterator[float | None]:
        begun = told = reached = time.monotonic()
        answers, seen = self._directory.answers, False
        while True:
            self._directory.await_change(beat if seen else min(beat, 0.1))
            now = time.monotonic()
            status = self._directory.status(self.config.key)
            seen = self._directory.answers >= answers + 2  # the first may be to a question from before this request
            if status is not None and status.info is not None and self._reachable(status):
                self._info = status.info
                return
            if seen and status is not None and status.error is not None:
                raise ApiError.from_info(status.error)
            if status is None or status.info is None:
                reached = now
            elif now - reached > MANAGER_ABSENCE_S:
                raise Unavailable(f"The worker of model {self.config.name} cannot be reached; try again.")
            if self._directory.age_s > MANAGER_ABSENCE_S and now - begun > MANAGER_ABSENCE_S:
                raise Unavailable("The pool manager does not answer; it is being restarted, so try again.")
            if now - told >= beat:
                told = now
                yield status.progress if status is not None else None

    def _reachable(self, status: ModelStatus) -> bool:
        return any(self._link(worker) is not None for worker in status.workers)

    def _link(self, worker: WorkerAddress) -> WorkerLink | None:
        if worker.worker_id in self._avoided:
            return None
        try:
            return self._links.to(worker)
        except ChannelGone:
            return None

    def avoid(self, link: WorkerLink) -> None:
        """Do not pick this worker again: it is leaving, or dead."""
        self._avoided.add(link.worker.worker_id)

    def leave(self) -> None:
        """Report how long the model is to be kept, now that the request has ended; may be called again."""
        if self.keep_alive_s is not None:
            self._directory.keep(self.config.key, self.keep_alive_s)

    def generate(
        self, requests: list[tuple[Prompt, SamplingParams]], terms: Terms = ANY_TERMS, at_once: int = 0
    ) -> Generation:
        """Start these sequences together on the least busy worker; the caller closes what it gets.

        `at_once` is how many of them a worker has at most at a time (0: all), so that they take no more places in its
        line.
        """
        terms = msgspec.structs.replace(terms, limits=self.config.limits)
        commands = [Generate(prompt, self._adapted(sampling), terms) for prompt, sampling in requests]
        return Generation(self, commands, at_once)

    def _adapted(self, sampling: SamplingParams) -> SamplingParams:
        """Add the adapters of the model to what has chosen none: the one place through which all sequences come."""
        adapters = self.config.adapters
        if adapters is None or sampling.adapters is not None:
            return sampling
        return msgspec.structs.replace(sampling, adapters=adapters)

    def ask(self, questions: Sequence[Question], terms: Terms = ANY_TERMS) -> Generation:
        """Ask these questions together of the least busy worker; the caller closes what it gets."""
        terms = msgspec.structs.replace(terms, limits=self.config.limits)
        return Generation(self, [Ask(question, terms) for question in questions])

    def pick(self, text: str) -> WorkerLink:
        """Choose the worker that a request with this text goes to.

        Raises `Unavailable` if none can be reached.
        """
        status = self._directory.status(self.config.key)
        workers = status.workers if status is not None else []
        links = [link for worker in workers if (link := self._link(worker)) is not None]
        if not links:
            raise Unavailable(
                f"The worker of model {self.config.name} has just ended; it is being restarted, so try again."
            )
        choices = [
            Choice(link.worker.worker_id, link.load(self._directory.load(link.worker.worker_id))) for link in links
        ]
        return links[choose(choices, text)]
