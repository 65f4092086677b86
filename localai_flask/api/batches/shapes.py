"""The shapes of batches, as the official `openai` package parses them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from localai_flask.store.batches.rows import Outcome, StoredBatch, usage_of

WINDOW = "24h"
TOLD_TIMES = ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")


class BatchError(msgspec.Struct):
    code: str
    message: str
    line: int | None = None
    param: str | None = None


class BatchErrors(msgspec.Struct):
    data: list[BatchError]
    object: str = "list"


class RequestCounts(msgspec.Struct):
    total: int
    completed: int
    failed: int


class InputTokensDetails(msgspec.Struct):
    cached_tokens: int


class OutputTokensDetails(msgspec.Struct):
    reasoning_tokens: int


class BatchUsage(msgspec.Struct):
    """What all answers together took."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Batch(msgspec.Struct, kw_only=True):
    id: str
    object: str = "batch"
    endpoint: str
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: str = WINDOW
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    in_progress_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts
    usage: BatchUsage
    metadata: dict[str, str]


class BatchList(msgspec.Struct):
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


def batch_shape(stored: StoredBatch, counts: Mapping[Outcome, int]) -> Batch:
    """Show a batch with the counts of its lines."""
    times: dict[str, Any] = {f"{name}_at": int(at) for name, at in stored.times.items() if name in TOLD_TIMES}
    metadata: Any = msgspec.json.decode(stored.metadata)
    errors = None if stored.errors is None else BatchErrors(msgspec.json.decode(stored.errors, type=list[BatchError]))
    is_cancelling = stored.cancelled and stored.status in ("validating", "in_progress")
    return Batch(
        id=stored.id,
        endpoint=stored.endpoint,
        errors=errors,
        input_file_id=stored.input_file_id or "",
        status="cancelling" if is_cancelling else stored.status,
        output_file_id=stored.output_file_id,
        error_file_id=stored.error_file_id,
        created_at=int(stored.created_at),
        expires_at=int(stored.expires_at),
        request_counts=RequestCounts(sum(counts.values()), counts.get("succeeded", 0), counts.get("errored", 0)),
        usage=_usage_shape(stored),
        metadata=metadata,
        **times,
    )


def _usage_shape(stored: StoredBatch) -> BatchUsage:
    used = usage_of(stored)
    cached, reasoning = InputTokensDetails(used.cached), OutputTokensDetails(used.reasoning)
    return BatchUsage(used.input, cached, used.output, reasoning, used.input + used.output)
