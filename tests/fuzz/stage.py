"""What is looked at in each answer, whoever gives it."""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from localai_flask.api.answer.sse import PING
from localai_flask.api.door.proxies import tidy_path
from localai_flask.api.ollama.errors import PATHS
from localai_flask.api.rerank.errors import MARKS as COHERE_MARKS
from tests.fuzz import wire
from tests.fuzz.wire import KNOWN
from tests.support.mutated_requests import Request

LONGEST_S = 5.0
MORE_BYTES = 64e6
"""What a server's processes may grow by together once everything has been imported and compiled."""
BUSY = (503, 429)
"""What a full server answers."""


class Answer(NamedTuple):
    status: int
    kind: str
    body: bytes


class Target(Protocol):
    """Who answers."""

    def ask(self, request: Request) -> Answer:
        """Return the answer; of a stream that only waits, what came until then."""

    def faults(self) -> Iterable[str]:
        """Return what is wrong beside the last answer."""

    def held_bytes(self) -> int: ...

    def close(self) -> None: ...


@dataclass
class Fault:
    what: str
    request: Request
    answer: bytes
    count: int = 1


class Stage:
    """Sends requests and collects what is wrong with the answers, one fault of each kind."""

    def __init__(self, target: Target, random: Random):
        self._target = target
        self._random = random
        self._known = deque([KNOWN], maxlen=5)
        self._before = 0
        self.statuses = Counter[int]()
        self.faults: dict[str, Fault] = {}
        self.slowest = 0.0

    @property
    def count(self) -> int:
        return sum(self.statuses.values())

    def send(self, request: Request) -> None:
        """Send a request in one of many ways, and look at the answer."""
        sent = self._with_known_id(wire.dress(request, self._random))
        begun = time.monotonic()
        try:
            answer = self._target.ask(sent)
        except Exception as error:  # what passes by every error handler, or no HTTP
            self._note(f"{type(error).__name__} instead of an answer", sent, repr(error).encode())
            return
        took = time.monotonic() - begun
        self.slowest = max(self.slowest, took)
        self.statuses[answer.status] += 1
        for what in (*_look(sent, answer, took), *self._target.faults()):
            self._note(what, sent, answer.body)
        if answer.status == 200 and answer.kind == "application/json" and b'"resp_' in answer.body[:200]:
            self._known.append(json.loads(answer.body).get("id", KNOWN))

    def begin_to_weigh(self) -> None:
        """Remember what the processes take, now that all is warm."""
        self._before = self._target.held_bytes()

    @property
    def grown(self) -> int:
        return self._target.held_bytes() - self._before if self._before else 0

    def _with_known_id(self, request: Request) -> Request:
        if self._random.random() < 0.2:
            return request
        id = self._random.choice(self._known)
        path, body = request.path.replace(KNOWN, id), request.body.replace(KNOWN.encode(), id.encode())
        return Request(request.method, path, body, request.headers)

    def _note(self, what: str, request: Request, answer: bytes) -> None:
        found = self.faults.get(what)
        if found is None:
            self.faults[what] = Fault(what, request, answer)
            return
        found.count += 1
        if len(request.body) < len(found.request.body):
            found.request, found.answer = request, answer


def _look(request: Request, answer: Answer, took: float) -> Iterator[str]:
    path = tidy_path(request.path)
    if b"server made a mistake" in answer.body:
        yield "the server made a mistake"
    elif answer.status >= 500 and answer.status not in BUSY:
        yield f"the status {answer.status}"
    if took > LONGEST_S:
        yield "it took too long"
    if answer.kind == "text/event-stream":
        if not _is_whole_stream(path, answer.body):
            yield "a stream without its end"
    elif answer.kind == "application/x-ndjson":
        yield from _faults_of_lines(answer.body)
    elif answer.status >= 400 and request.method != "HEAD":
        yield from _faults_of_error(path, request, answer.body)
    elif answer.kind == "application/json" and request.method != "HEAD":
        yield from _faults_of_json(answer.body)


OLLAMA = tuple(PATHS)
"""Where errors are sentences."""
COHERE = tuple(path for path, _ in COHERE_MARKS)


def may_wait(path: str) -> bool:
    """Whether a stream may be that of a background run, which nobody works on here."""
    return "responses" in path


def has_no_end(path: str) -> bool:
    """Whether a stream tells the news of models, or of the server, until its client leaves."""
    return tidy_path(path.partition("?")[0]).endswith(("/models/sse", "/api/events"))


def _is_whole_stream(path: str, answer: bytes) -> bool:
    if has_no_end(path) or (answer.endswith(PING) and may_wait(path)):
        return True
    if tidy_path(path.partition("?")[0]).endswith("/infill"):
        return b'"stop":true' in answer or b'data: {"error":' in answer
    if "/messages" in path:
        return b"event: message_stop\n" in answer[-200:] or b"event: error\n" in answer
    last = answer.removesuffix(b"\n\n").rpartition(b"\n\n")[2]
    return answer.endswith(b"\n\n") and (last == b"data: [DONE]" or last.startswith(b'data: {"error":'))


def _faults_of_error(path: str, request: Request, answer: bytes) -> Iterable[str]:
    try:
        error = json.loads(answer)
        if path.startswith(COHERE):
            if not (error["id"] and error["message"] and error["code"]):
                yield "an error in another family's shape"
            return
        error = error["error"]
        if isinstance(error, str) and path.startswith(OLLAMA):
            return
        message, kind, has_code = error["message"], error["type"], "code" in error
    except (ValueError, KeyError, TypeError):
        yield "an error that is no JSON of its family"
        return
    names = {name.lower() for name in request.headers}
    bare = path.removeprefix("/v1")
    is_anthropic = bare.startswith("/messages") or (bare.startswith("/models") and "anthropic-version" in names)
    if not message or not kind or has_code is is_anthropic:
        yield "an error in another family's shape"


def _faults_of_lines(answer: bytes) -> Iterable[str]:
    try:
        *_, last = map(json.loads, answer.splitlines())
        if not (last.get("done") or "error" in last or last.get("status") == "success"):
            yield "lines without their end"
    except ValueError:
        yield "a line that is no JSON"


def _faults_of_json(answer: bytes) -> Iterable[str]:
    try:
        json.loads(answer)
    except ValueError:
        yield "an answer that is no JSON"
