"""Work with one model, for one request of a client: find its worker, run sequences there, hear of every failure.

No method waits without a beat: iterators yield at least every `beat` seconds, so that the caller can tell whether its
own client is still there.
"""

from __future__ import annotations

import queue
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Generator, Iterator, Sequence

import msgspec

from localai_flask.config.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ModelFileChanging, Unavailable, WorkerDied, WorkerLeaving
from localai_flask.generation import Failed, ModelInfo, Prompt, Reply
from localai_flask.inquiry import EmbeddedPart, Fact, Question, Score
from localai_flask.pool.channel import ChannelGone
from localai_flask.pool.client.balance import Choice, choose
from localai_flask.pool.client.directory import DirectoryThread
from localai_flask.pool.client.inbox import Inbox
from localai_flask.pool.client.worker_links import WorkerLink, WorkerLinks
from localai_flask.pool.messages import NOT_LAST, Ask, Generate, Ping, Pong, Queued, Taken, Terms
from localai_flask.pool.protocol import Coming, ModelStatus, WorkerAddress
from localai_flask.sampling_params import SamplingParams

BEAT_S = 0.5
MANAGER_ABSENCE_S = 10.0
"""How long a request waits for a manager that does not answer, or for a worker that cannot be reached."""
QUIET_PATIENCE_S = 5.0
"""How long a request waits for a file that is as long as it should be, and has not been quiet for long enough."""
QUIET_LOOK_S = 0.25
PING_S = 5.0
"""How long a worker may say nothing to a request before it is asked whether it is there."""
SILENCE_S = 60.0
"""How long a worker may say nothing at all, not even that, before a request is given up."""
PONG = -1
"""The tag of answers that belong to no sequence."""
ANY_TERMS = Terms()
RESUBMISSIONS = 3
"""How often one sequence may be moved from a worker that leaves or dies before it began."""


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


class Generation:
    """Sequences, or questions, that run together for one request of a client."""

    def __init__(self, session: Session, commands: Sequence[Generate | Ask], at_once: int = 0):
        self._session = session
        self._commands = commands
        self._inbox = Inbox()
        self._running: dict[int, tuple[WorkerLink, int]] = {}
        self._begun: set[int] = set()
        """Sequences that an engine has looked at, but for those that it lets wait."""
        self._heard_at = self._pinged_at = time.monotonic()
        self._moves: Counter[int] = Counter()
        self._later = deque(range(at_once, len(commands)) if at_once else ())
        """Sequences that are sent when others have ended."""
        self._ends_thinking = False
        link = session.pick(_text(commands[0]))
        try:
            if isinstance(commands[0], Ask):
                # In one frame, so that the engine can compute them in one batch.
                ids = link.send_all(enumerate(commands), self._inbox)
                self._running = {index: (link, request_id) for index, request_id in enumerate(ids)}
                return
            for index in range(len(commands) - len(self._later)):
                self._submit(index, link)
        except ApiError:
            self.close()
            raise

    def _submit(self, index: int, link: WorkerLink) -> None:
        request_id = link.send(self._commands[index], self._inbox, index)
        self._running[index] = link, request_id
        if self._ends_thinking:
            link.end_thinking([request_id])

    def end_thinking(self) -> None:
        """Have all sequences answer instead of thinking, those that may be; may be called again."""
        if not self._ends_thinking:
            self._ends_thinking = True
            for link, request_id in self._running.values():
                link.end_thinking([request_id])

    def _submit_next(self) -> None:
        if self._later:
            index = self._later.popleft()
            self._submit(index, self._session.pick(_text(self._commands[index])))

    def events(self, beat: float = BEAT_S) -> Iterator[tuple[int, Reply | Queued | EmbeddedPart | Fact] | None]:
        """Yield (index of the sequence, reply) as they come, None after each `beat` seconds of silence.

        A `Queued` tells a place in the line.

        Ends after the last `Finished`, or fact; raises the error of the first that failed, after cancelling the others.
        """
        while self._running:
            try:
                index, answer = self._inbox.get(beat)
            except queue.Empty:
                self._check_workers()
                yield None
                continue
            self._heard_at = time.monotonic()
            if index not in self._running:  # said before it heard that it was cancelled
                continue
            if isinstance(answer, Failed):
                if self._may_move(index, answer):
                    yield from self._move(index, beat)
                    continue
                self._running.pop(index, None)
                self.close()
                raise ApiError.from_info(answer.error)
            if not isinstance(answer, NOT_LAST):
                self._running.pop(index, None)
                self._submit_next()
            if isinstance(answer, Queued):
                self._begun.discard(index)
            elif not isinstance(answer, Pong):
                self._begun.add(index)
            if not isinstance(answer, Pong | Taken) and answer != Queued():
                yield index, answer

    def _check_workers(self) -> None:
        """Ask silent workers whether they are there; raise `Unavailable` if none has said anything for too long.

        The manager replaces a worker that hangs; this is for the case that the manager hangs too.
        """
        now = time.monotonic()
        if now - self._heard_at > SILENCE_S:
            raise Unavailable(f"The worker of model {self._session.config.name} does not answer; try again.")
        if now - max(self._heard_at, self._pinged_at) > PING_S:
            self._pinged_at = now
            for link in {link for link, _ in self._running.values()}:
                link.send(Ping(), self._inbox, PONG)

    def _may_move(self, index: int, failed: Failed) -> bool:
        """Return whether another worker may take over: no engine has looked at the sequence, or it has let it wait.

        A prompt that kills its worker has been looked at, so it does not go on to kill the next.
        """
        movable = failed.error.code in (WorkerLeaving.code, WorkerDied.code)
        return movable and index not in self._begun and self._moves[index] < RESUBMISSIONS

    def _move(self, index: int, beat: float) -> Iterator[None]:
        """Move a sequence whose worker left before it began to another one."""
        self._moves[index] += 1
        self._session.avoid(self._running.pop(index)[0])
        for _ in self._session.wait_ready(beat):
            yield None
        self._submit(index, self._session.pick(_text(self._commands[index])))

    def cancel(self, index: int) -> None:
        """End one sequence, of which nothing more comes; the others go on."""
        if running := self._running.pop(index, None):
            link, request_id = running
            link.cancel_all([request_id])
            self._submit_next()

    def close(self) -> None:
        """Cancel what has not finished; may be called again."""
        ids: dict[WorkerLink, list[int]] = defaultdict(list)
        self._later.clear()
        while self._running:
            _, (link, request_id) = self._running.popitem()
            ids[link].append(request_id)
        for link, request_ids in ids.items():
            link.cancel_all(request_ids)
        self._session.leave()


def _text(command: Generate | Ask) -> str:
    """The text that decides which of several idle workers a command goes to."""
    if isinstance(command, Generate):
        return command.prompt.text
    return command.question.query if isinstance(command.question, Score) else ""
