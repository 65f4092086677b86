"""The lines of a batch: how one is read, and how its answer is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from localai_flask.api.request.body.json_body import decode_json
from localai_flask.errors import InvalidRequest
from localai_flask.store.batches.rows import Line

ENDPOINTS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")
LONGEST_ID = 512
NEEDS_A_CLIENT = ("stream", "background")
"""Fields that ask for an answer in another way than a batch gives it."""
NOT_ANSWERED = {
    "canceled": ("batch_cancelled", "The batch was cancelled before this request was answered."),
    "expired": ("batch_expired", "The batch's time was over before this request was answered."),
}


class LineError(msgspec.Struct):
    code: str
    message: str


class LineAnswer(msgspec.Struct, omit_defaults=True):
    """What a line was answered: by the server with a status and a body, or, if it is no request, by an error."""

    status: int = 0
    request_id: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")
    error: LineError | None = None


class Response(msgspec.Struct):
    status_code: int
    request_id: str
    body: msgspec.Raw


class OutputLine(msgspec.Struct):
    """A line of an output or error file."""

    id: str
    custom_id: str | None
    response: Response | None
    error: LineError | None


encode_answer = msgspec.json.Encoder().encode
decode_answer = msgspec.json.Decoder(LineAnswer).decode


def split_lines(pieces: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Yield the lines of a file; one that is longer than may be is cut behind that many bytes."""
    rest = b""
    is_passed_over = False
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            if not is_passed_over:
                yield line[: longest + 1]
            is_passed_over = False
        if len(rest) > longest:
            if not is_passed_over:
                yield rest[: longest + 1]
            is_passed_over, rest = True, b""
    if rest and not is_passed_over:
        yield rest


def read_line(text: bytes, number: int, endpoint: str, known: set[str], longest: int) -> Line:
    """Read a line; one that is no request of the batch has been answered with the reason."""
    custom_id = ""
    try:
        if len(text) > longest:
            raise InvalidRequest(f"The line is longer than {longest // 2**20} MB; raise LOCALAI_UPLOAD_LIMIT.")
        request = decode_json(text)
        custom_id = _custom_id(request)
        if custom_id in known:
            raise InvalidRequest(f"`custom_id` {custom_id!r} stands in a line before; answers could not be told apart.")
        known.add(custom_id)
        body = _body(request, endpoint)
    except InvalidRequest as error:
        answer = LineAnswer(error=LineError(error.info.code, f"line {number + 1}: {error}"))
        return Line(number, custom_id, b"", "errored", encode_answer(answer))
    return Line(number, custom_id, msgspec.json.encode(body))


def _custom_id(request: Any) -> str:
    if not isinstance(request, dict):
        raise InvalidRequest("it must be a JSON object.")
    custom_id = request.get("custom_id")
    if not isinstance(custom_id, str) or not 0 < len(custom_id) <= LONGEST_ID or "\0" in custom_id:
        raise InvalidRequest(f"`custom_id` must be a string of 1 to {LONGEST_ID} characters.")
    return custom_id


def _body(request: dict[str, Any], endpoint: str) -> dict[str, Any]:
    if request.get("method", "POST") != "POST":
        raise InvalidRequest("`method` must be POST.")
    if request.get("url", endpoint) != endpoint:
        raise InvalidRequest(f"`url` must be {endpoint}, the batch's `endpoint`.")
    body = request.get("body")
    if not isinstance(body, dict):
        raise InvalidRequest("`body` must be an object.")
    check_needs_no_client(body)
    return body


def check_needs_no_client(body: dict[str, Any], inside: str = "body") -> None:
    """Raise `InvalidRequest` for a request whose answer somebody would have to follow."""
    for field in NEEDS_A_CLIENT:
        if body.get(field):
            raise InvalidRequest(f"`{inside}.{field}` is not possible in a batch; leave it out.")


def write_line(batch_id: str, line: Line) -> bytes:
    """Write a line of an output or error file."""
    answer = LineAnswer() if line.answer is None else decode_answer(line.answer)
    error = answer.error
    if line.outcome in NOT_ANSWERED:
        error = LineError(*NOT_ANSWERED[line.outcome])
    response = Response(answer.status, answer.request_id, answer.body) if answer.status else None
    written = OutputLine(f"{batch_id}-{line.number}", line.custom_id or None, response, error)
    return encode_answer(written) + b"\n"
