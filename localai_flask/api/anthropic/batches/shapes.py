"""The shapes of batches of messages, as the official `anthropic` package parses them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

import msgspec

from localai_flask.api.answer.errors import MISTAKE
from localai_flask.api.anthropic.shapes import ErrorDetail, ErrorResponse
from localai_flask.api.batches.lines import LineAnswer, decode_answer
from localai_flask.store.batches.rows import UNFINISHED, Line, Outcome, StoredBatch

ENDED_IN = ("completed", "failed", "expired", "cancelled")


class RequestCounts(msgspec.Struct):
    processing: int
    succeeded: int
    errored: int
    canceled: int
    expired: int


class MessageBatch(msgspec.Struct, kw_only=True):
    id: str
    type: Literal["message_batch"] = "message_batch"
    processing_status: Literal["in_progress", "canceling", "ended"]
    request_counts: RequestCounts
    created_at: str
    expires_at: str
    ended_at: str | None
    cancel_initiated_at: str | None
    archived_at: str | None = None
    results_url: str | None


class MessageBatchList(msgspec.Struct):
    data: list[MessageBatch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedBatch(msgspec.Struct):
    id: str
    type: Literal["message_batch_deleted"] = "message_batch_deleted"


class Succeeded(msgspec.Struct, tag="succeeded"):
    message: msgspec.Raw


class Errored(msgspec.Struct, tag="errored"):
    error: msgspec.Raw | ErrorResponse


class Canceled(msgspec.Struct, tag="canceled"):
    pass


class Expired(msgspec.Struct, tag="expired"):
    pass


class Result(msgspec.Struct):
    custom_id: str
    result: Succeeded | Errored | Canceled | Expired


def batch_shape(stored: StoredBatch, counts: Mapping[Outcome, int], results_url: str) -> MessageBatch:
    """Show a batch with the counts of its lines."""
    times, has_ended = stored.times, stored.status not in UNFINISHED
    ended = next((times[status] for status in ENDED_IN if status in times), None)
    return MessageBatch(
        id=stored.id,
        processing_status="ended" if has_ended else "canceling" if stored.cancelled else "in_progress",
        request_counts=RequestCounts(
            counts.get("waiting", 0),
            *(counts.get(outcome, 0) for outcome in ("succeeded", "errored", "canceled", "expired")),
        ),
        created_at=_written(stored.created_at),
        expires_at=_written(stored.expires_at),
        ended_at=None if ended is None else _written(ended),
        cancel_initiated_at=_written(times["cancelling"]) if "cancelling" in times else None,
        results_url=results_url if has_ended else None,
    )


def write_result(line: Line) -> bytes:
    """Write a line of a batch's results."""
    return msgspec.json.encode(Result(line.custom_id, _result(line))) + b"\n"


def _result(line: Line) -> Succeeded | Errored | Canceled | Expired:
    answer = LineAnswer() if line.answer is None else decode_answer(line.answer)
    match line.outcome:
        case "succeeded":
            return Succeeded(answer.body)
        case "canceled":
            return Canceled()
        case "expired":
            return Expired()
    if answer.error is not None:
        return Errored(ErrorResponse(ErrorDetail("invalid_request_error", answer.error.message), ""))
    if not answer.status:  # the batch as a whole has failed before this one's turn
        return Errored(ErrorResponse(ErrorDetail("api_error", MISTAKE), ""))
    return Errored(answer.body)


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
