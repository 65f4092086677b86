"""Sequences or questions of one request of a client: sent to workers, moved from those that leave, heard of, ended."""

from __future__ import annotations

import queue
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from localai_flask.errors import ApiError, DeadlineExceeded, Unavailable, WorkerDied, WorkerLeaving
from localai_flask.generation import Failed, Reply
from localai_flask.inquiry import EmbeddedPart, Fact, Score
from localai_flask.pool.client.inbox import BEAT_S, Inbox
from localai_flask.pool.client.worker_links import WorkerLink
from localai_flask.pool.messages import NOT_LAST, Ask, Generate, Ping, Pong, Queued, Taken

if TYPE_CHECKING:
    from localai_flask.pool.client.session import Session

PING_S = 5.0
"""How long a worker may say nothing to a request before it is asked whether it is there."""
SILENCE_S = 60.0
"""How long a worker may say nothing at all, not even that, before a request is given up."""
LATE_S = 1.0
"""How long after its end a request's time is up here: a worker says better how far it came, unless a step lasts."""
PONG = -1
"""The tag of answers that belong to no sequence."""
RESUBMISSIONS = 3
"""How often one sequence may be moved from a worker that leaves or dies before it began."""


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
        given_s = commands[0].terms.timeout_s
        self._until = float("inf") if given_s is None else self._heard_at + given_s
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
        request_id = link.send(self._timed(self._commands[index]), self._inbox, index)
        self._running[index] = link, request_id
        if self._ends_thinking:
            link.end_thinking([request_id])

    def _timed(self, command: Generate | Ask) -> Generate | Ask:
        """Return a command with what is left of the time that all of them have together."""
        if command.terms.timeout_s is None:
            return command
        left_s = max(self._until - time.monotonic(), 0.0)
        return msgspec.structs.replace(command, terms=msgspec.structs.replace(command.terms, timeout_s=left_s))

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
            left_s = max(self._until + LATE_S - time.monotonic(), 0.0)
            try:
                index, answer = self._inbox.get(min(beat, left_s))
            except queue.Empty:  # what came in time is given to a client that reads it late
                self._check_time()
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

    def _check_time(self) -> None:
        """End everything and raise `DeadlineExceeded` if the worker should have done so a while ago."""
        if time.monotonic() >= self._until + LATE_S:
            self.close()
            raise DeadlineExceeded(
                "The request was not finished in the time it was given, which ended while the engine computed; "
                "allow more time or ask for less."
            )

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
