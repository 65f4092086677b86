"""Requests in flight, and those that failed lately: of this process, and of the server's others, which one may ask.

Each process that answers requests listens on a socket in the runtime directory, so that a request costs no more than an
entry in a dictionary, what is listed is what is so, and a cancellation reaches the process that has the request.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path

import msgspec

from localai_flask.metrics.request_record import CLIENT_LEFT, RequestRecord

log = logging.getLogger("gunicorn.error")

SUFFIX = ".web"
ANSWER_S = 1.0
"""How long all processes together may take to answer; who has not by then is stopped, or hangs."""
QUESTION_S = 1.0
LONGEST_QUESTION = 4096
KEPT_FAILURES = 50
"""How many each process remembers."""


class Request(msgspec.Struct, frozen=True):
    """One request in flight; `age_s` counts from its arrival."""

    id: str
    model: str
    key: str
    client: str
    route: str
    stream: bool
    state: str
    prompt_tokens: int
    completion_tokens: int
    age_s: float
    pid: int


class Failure(msgspec.Struct, frozen=True):
    """A request that was refused, or that broke off; `at` is in seconds since 1970, `code` the error's."""

    at: float
    id: str
    method: str
    route: str
    model: str
    key: str
    client: str
    status: int
    code: str


class Question(msgspec.Struct, frozen=True):
    """What one process asks another: to list its requests, after it has cancelled those with an id, if there is one.

    Or, with `end_thinking`, to have the models of those whose answer has this id stop thinking; then of `keeper`'s
    alone (None: of all), and of those that a model has, as before that nobody knows whether they can.
    """

    cancel: str | None = None
    wants_failures: bool = False
    end_thinking: str | None = None
    keeper: str | None = None


class Told(msgspec.Struct):
    """What processes answer, all together or each."""

    requests: list[Request] = []
    failures: list[Failure] = []
    ending: int = 0
    """How many requests were told to have their models answer instead of thinking."""


_decode_question = msgspec.msgpack.Decoder(Question).decode
_decode_told = msgspec.msgpack.Decoder(Told).decode
_encode = msgspec.msgpack.Encoder().encode


class InFlight:
    """The requests of this process."""

    def __init__(self) -> None:
        self._records: dict[int, RequestRecord] = {}
        self._failures: deque[Failure] = deque(maxlen=KEPT_FAILURES)

    def add(self, record: RequestRecord) -> None:
        self._records[id(record)] = record

    def remove(self, record: RequestRecord) -> None:
        self._records.pop(id(record), None)

    def note_failure(self, record: RequestRecord) -> None:
        """Remember why a request has ended, if that is an error."""
        if record.code and record.code != CLIENT_LEFT:
            self._failures.append(_describe_failure(record))

    def answer(self, question: Question) -> Told:
        """Return the requests that a model works on, or, if some are to be cancelled, those that are now."""
        found = [record for record in list(self._records.values()) if record.model]
        if question.cancel is not None:
            found = [record for record in found if record.id == question.cancel]
            for record in found:
                record.is_cancelled = True
        if question.end_thinking is not None:
            found = [record for record in found if record.submitted is not None and _is_meant(record, question)]
            for record in found:
                record.ends_thinking = record.can_end_thinking
        return Told(
            [_describe(record) for record in found],
            list(self._failures) if question.wants_failures else [],
            sum(record.ends_thinking for record in found),
        )

    def serve(self, runtime: Path) -> None:
        """Answer the other processes of this server from now on."""
        path = runtime / f"{os.getpid()}{SUFFIX}"
        path.unlink(missing_ok=True)  # of a process that had this pid before
        _remove_sockets_of_dead(runtime)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(str(path))
            listener.listen(64)
        except OSError as error:
            listener.close()
            log.warning("the requests of this process cannot be listed: %s", error)
            return
        threading.Thread(target=self._serve, args=(listener,), name="in-flight", daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError as error:  # as when there is no descriptor to spare
                log.debug("another process could not be heard: %s", error)
                time.sleep(QUESTION_S)
                continue
            with connection:
                connection.settimeout(QUESTION_S)
                try:
                    question = _decode_question(connection.recv(LONGEST_QUESTION))
                    connection.sendall(_encode(self.answer(question)))
                except (OSError, msgspec.MsgspecError) as error:
                    log.debug("another process could not be answered: %s", error)


def _is_meant(record: RequestRecord, question: Question) -> bool:
    """Return whether an id is that of a request's answer, or of a background run, which are the same."""
    is_named = question.end_thinking in (record.answer_id, record.id)
    return is_named and question.keeper in (None, record.keeper)


def _remove_sockets_of_dead(runtime: Path) -> None:
    """Remove what killed processes have left, so that there is never more of it than one generation's."""
    for path in runtime.glob(f"*{SUFFIX}"):
        if not _lives(path):
            path.unlink(missing_ok=True)


def ask_all(runtime: Path, question: Question) -> tuple[Told, list[int]]:
    """Ask every process of this server; return what they answer, and the pids of those that do not."""
    asked: dict[socket.socket, int] = {}
    try:
        silent = [pid for path in runtime.glob(f"*{SUFFIX}") if (pid := _ask(path, question, asked)) is not None]
        answered, late = _read_all(asked)
    finally:
        for connection in asked:
            connection.close()
    return answered, sorted([*silent, *late])


def _ask(path: Path, question: Question, asked: dict[socket.socket, int]) -> int | None:
    """Ask the process with this socket, and note it among those asked; return its pid if it lives and cannot be."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        connection.connect(str(path))
        connection.send(_encode(question))
    except OSError:
        connection.close()
        if _lives(path):
            return int(path.stem)
        path.unlink(missing_ok=True)
    else:
        asked[connection] = int(path.stem)
    return None


def _lives(path: Path) -> bool:
    """Return whether the process whose socket this is still runs."""
    return Path(f"/proc/{path.stem}").exists()


def _read_all(asked: dict[socket.socket, int]) -> tuple[Told, list[int]]:
    """Read what each connection has to say to its end; return it, and the pids of those that have not come to it."""
    deadline = time.monotonic() + ANSWER_S
    waiting = {connection.fileno(): connection for connection in asked}
    data = {connection: bytearray() for connection in asked}
    poll = select.poll()
    for descriptor in waiting:
        poll.register(descriptor, select.POLLIN)
    while waiting and (left_s := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(1000 * left_s):
            connection = waiting[descriptor]
            try:
                piece = connection.recv(65536)
            except OSError:
                piece = b""
            data[connection] += piece
            if not piece:
                poll.unregister(descriptor)
                del waiting[descriptor]
    told = Told()
    late = [asked[connection] for connection in waiting.values()]
    for connection in data.keys() - waiting.values():
        try:
            # One that has ended without a word was killed, and its requests with it.
            answer = _decode_told(data[connection]) if data[connection] else Told()
        except msgspec.DecodeError:  # it was killed, or gave up, in the middle of its answer
            late.append(asked[connection])
        else:
            told.requests.extend(answer.requests)
            told.failures.extend(answer.failures)
            told.ending += answer.ending
    return told, late


def _describe(record: RequestRecord) -> Request:
    return Request(
        *(record.id, record.model, record.key, record.client, record.route, record.stream, record.state),
        prompt_tokens=record.prompt_tokens,
        completion_tokens=record.completion_tokens,
        age_s=round(time.monotonic() - record.arrived, 3),
        pid=os.getpid(),
    )


def _describe_failure(record: RequestRecord) -> Failure:
    return Failure(
        time.time(),
        *(record.id, record.method, record.route, record.model, record.key, record.client, record.status, record.code),
    )


def by_age(requests: Iterable[Request]) -> list[Request]:
    """Return requests in order, the oldest first."""
    return sorted(requests, key=lambda request: -request.age_s)
