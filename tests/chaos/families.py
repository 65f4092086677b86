"""One request in each API family, and how it ended: with an answer or an error of that family's shape, or otherwise."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SILENCE_S = 60.0
"""After this long without a byte a request counts as hung."""


class Ending(Enum):
    ANSWERED = "answered"
    ERROR = "error"
    HUNG_UP = "hung up"
    """By the client, as it was told to."""
    CUT = "cut"
    """By the server, in the middle of an answer or before one."""
    UNREACHED = "unreached"
    """Nobody listened."""
    HUNG = "hung"
    MISSHAPEN = "misshapen"
    WRONG = "wrong"
    """The answer is not the one that was asked for."""


@dataclass
class Request:
    """What is asked, and then what came of it; moments are on the clock of `time.monotonic`."""

    family: str
    stream: bool
    model: str
    content: str
    max_tokens: int
    expected: str | None = None
    """The text of the answer, where it is known."""
    own_s: float = 0.0
    """How long the model takes for it on an idle server."""
    hang_up_after_s: float | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    begun: float = 0.0
    ended: float = 0.0
    ending: Ending | None = None
    detail: str = ""
    text: str = ""
    id: str = ""

    @property
    def took_s(self) -> float:
        return self.ended - self.begun

    def __str__(self) -> str:
        how = "stream" if self.stream else "whole"
        ended = self.ending.value if self.ending else ""
        return f"{self.family}/{how} to {self.model} after {self.took_s:.1f} s: {ended} {self.detail}"


@dataclass(frozen=True)
class Family:
    path: str
    body: Callable[[Request], dict[str, Any]]
    text: Callable[[Any], str]
    """The text of a whole answer; raises `LookupError` or `TypeError` if it has not the family's shape."""
    is_error: Callable[[Any], bool]
    event: Callable[[str, Any], tuple[str, str]]
    """From an event's name and data to ("text", a piece), ("end", ""), ("error", what it says) or ("", "")."""


def _chat_text(answer: Any) -> str:
    choice = answer["choices"][0]
    assert choice["finish_reason"]
    return str(choice["message"]["content"])


def _chat_event(_: str, data: Any) -> tuple[str, str]:
    if data == "[DONE]":
        return "end", ""
    if "error" in data:
        return "error", data["error"]["message"]
    return "text", "".join(choice["delta"].get("content") or "" for choice in data["choices"])


def _anthropic_text(answer: Any) -> str:
    assert answer["type"] == "message" and answer["stop_reason"]
    return "".join(block["text"] for block in answer["content"])


def _anthropic_event(name: str, data: Any) -> tuple[str, str]:
    assert name == data["type"]
    if name == "error":
        return "error", data["error"]["message"]
    if name == "content_block_delta":
        return "text", data["delta"].get("text", "")
    return ("end", "") if name == "message_stop" else ("", "")


def _responses_text(answer: Any) -> str:
    assert answer["object"] == "response"
    return "".join(part["text"] for item in answer["output"] for part in item["content"])


def _responses_event(name: str, data: Any) -> tuple[str, str]:
    assert name == data["type"]
    if name == "error":
        return "error", (data.get("error") or data)["message"]
    if name == "response.failed":
        return "error", data["response"]["error"]["message"]
    if name == "response.output_text.delta":
        return "text", data["delta"]
    return ("end", "") if name in ("response.completed", "response.incomplete") else ("", "")


def _messages(request: Request) -> list[dict[str, str]]:
    return [{"role": "user", "content": request.content}]


FAMILIES = {
    "chat": Family(
        "/v1/chat/completions",
        lambda request: {"messages": _messages(request), "max_tokens": request.max_tokens},
        _chat_text,
        lambda answer: bool(answer["error"]["message"] and answer["error"]["type"]),
        _chat_event,
    ),
    "anthropic": Family(
        "/v1/messages",
        lambda request: {"messages": _messages(request), "max_tokens": request.max_tokens},
        _anthropic_text,
        lambda answer: bool(answer["type"] == "error" and answer["error"]["message"] and answer["error"]["type"]),
        _anthropic_event,
    ),
    "responses": Family(
        "/v1/responses",
        lambda request: {"input": request.content, "max_output_tokens": request.max_tokens},
        _responses_text,
        lambda answer: bool(answer["error"]["message"]),
        _responses_event,
    ),
}


class _HungUp(Exception):
    pass


def run(request: Request, port: int) -> Request:
    """Send a request, and note in it how it ended; raises nothing."""
    family = FAMILIES[request.family]
    body = {"model": request.model, "stream": request.stream, **family.body(request), **request.fields}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SILENCE_S)
    request.begun = time.monotonic()
    try:
        connection.connect()
    except OSError as error:
        _end(request, Ending.UNREACHED, str(error))
        return request
    try:
        connection.request("POST", family.path, json.dumps(body), {"Content-Type": "application/json"})
        if request.hang_up_after_s is not None:
            connection.sock.settimeout(request.hang_up_after_s)
        answer = connection.getresponse()
        if answer.headers.get_content_type() == "text/event-stream":
            _read_stream(request, family, answer)
        else:
            _read_whole(request, family, answer.status, answer.read())
    except (_HungUp, TimeoutError):
        _end(request, Ending.HUNG if request.hang_up_after_s is None else Ending.HUNG_UP)
    except (OSError, http.client.HTTPException) as error:
        _end(request, Ending.CUT, repr(error))
    except (AssertionError, LookupError, TypeError, ValueError) as error:
        _end(request, Ending.MISSHAPEN, repr(error))
    finally:
        connection.close()
    return request


def _end(request: Request, ending: Ending, detail: str = "") -> None:
    request.ended, request.ending, request.detail = time.monotonic(), ending, detail[:300]


def _end_with_answer(request: Request) -> None:
    if request.expected is not None and request.text != request.expected:
        _end(request, Ending.WRONG, f"{request.text!r} instead of {request.expected!r}")
    else:
        _end(request, Ending.ANSWERED)


def _read_whole(request: Request, family: Family, status: int, data: bytes) -> None:
    answer = json.loads(data)
    if status == 200:
        request.id, request.text = answer["id"], family.text(answer)
        _end_with_answer(request)
    elif family.is_error(answer):
        _end(request, Ending.ERROR, f"{status} {answer['error']['message']}")
    else:
        _end(request, Ending.MISSHAPEN, data.decode(errors="replace"))


def _read_stream(request: Request, family: Family, lines: http.client.HTTPResponse) -> None:
    until = None if request.hang_up_after_s is None else request.begun + request.hang_up_after_s
    for name, data in _events(lines, until):
        if isinstance(data, dict) and "response" in data:
            request.id = data["response"]["id"]
        kind, said = family.event(name, data)
        if kind == "text":
            request.text += said
        elif kind == "end":
            return _end_with_answer(request)
        elif kind == "error":
            return _end(request, Ending.ERROR, said)
    _end(request, Ending.CUT, "the stream ended without an end")


def _events(lines: http.client.HTTPResponse, until: float | None) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in lines:
        if until is not None and time.monotonic() > until:
            raise _HungUp
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            text = line[6:].decode().strip()
            yield name, text if text == "[DONE]" else json.loads(text)
