"""The rows of the table, in the order in which they are measured: those of one model together."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.table import rates, states, waits
from benchmarks.table.row import Row

STREAMS = ((1, 2, 128, 1.0), (4, 8, 64, 1.2), (8, 16, 40, 1.05), (16, 32, 24, 1.05))
"""Streams, requests, tokens of each, and the aim."""
BESIDE_BUSY = ((1, 1, 48), (4, 4, 24), (8, 8, 24), (16, 16, 12))
MANY_TINY = rates.workload("--workload decode --clients 8 --requests 32 --tokens 256")
MANY_FORMS = rates.workload("--workload json --clients 8 --requests 8")
PLURAL = {1: "1 stream"}
SHARED_STEPS = "chunks of the prompt share the stream's steps, and each costs more the deeper it is; the gap goes first"
GAPS_FIRST = "of texts beside a stream each step computes as many as its gaps allow"
HAND_OVER = "each token crosses to a web worker in Python, which takes time from a core that computes"
NO_PLACE = (
    "`llama-server` leaves tools out of this model's prompt, whose template has no place for them: 36 tokens, not 3,471"
)
LAST_PART = "a prompt's last tokens are computed apart, so that a lone request has the same bits each time"
FORCED_COSTS = "tokens that the form forces are computed together, but each costs two cores a third of a step"
SAME_LIBRARY = "the same library computes both, and there is little beside it"
TINY_STEPS = "a step takes a tenth of a millisecond, so that Python's share and the hand-over between processes count"
IN_TURNS = "`deterministic: true` computes one request at a time, which is its price"


def _decoding(model: str) -> Iterator[Row]:
    for streams, requests, tokens, aim in STREAMS:
        title = PLURAL.get(streams, f"{streams} streams")
        yield Row(model, title, rates.decode(streams, requests, tokens), aim, why=HAND_OVER)


def _beside_busy(model: str) -> Iterator[Row]:
    for streams, requests, tokens in BESIDE_BUSY:
        title = f"{PLURAL.get(streams, f'{streams} streams')}, two busy processes"
        yield Row(model, title, rates.decode(streams, requests, tokens, beside=2), 1.5, rounds=2)


def _prompts(model: str) -> Iterator[Row]:
    for tokens, rounds in ((20, 5), (127, 5), (1500, 3), (7500, 1)):
        title = f"first token of {tokens:,}"
        yield Row(model, title, waits.first_token(tokens), 1.05, "ms", True, rounds, LAST_PART)


def _beside_prompt(model: str, tokens: int, *, with_peer: bool) -> Iterator[Row]:
    gap, loss = (kind(tokens, with_peer=with_peer) for kind in (waits.gap_beside, waits.loss_beside))
    title = f"a stream beside {tokens:,} tokens"
    yield Row(model, f"{title}: p99 gap / idle gap", gap, 3.0, "ms", True, 1, SHARED_STEPS)
    yield Row(model, f"{title}: the prompt's loss", loss, 0.2, "%", True, 1, SHARED_STEPS)


def all_rows() -> list[Row]:
    """Return every row."""
    return [
        Row("smollm2", "memory, fresh", states.fresh_memory, 1.1, "MB", True, 1),
        Row("smollm2", "lone greedy requests with one text, of 10", states.repeated_texts, 1.0, "prompts", rounds=1),
        *_decoding("smollm2"),
        *_beside_busy("smollm2"),
        *_prompts("smollm2"),
        Row("smollm2", "second turn of 7,500 after kill -9 / cold", waits.after_a_kill(7500), 0.2, "ms", True, 1),
        Row("smollm2", "20 tokens behind 2,000: first token", waits.behind_a_long_prompt, 0.2, "ms", True, 3),
        *_beside_prompt("smollm2", 2000, with_peer=True),
        Row("smollm2", "8 clients, common 1,000 tokens", rates.common_prompt(is_cached=False), 3, "1/s", rounds=1),
        Row("smollm2", "the same, cached on both sides", rates.common_prompt(is_cached=True), 1.1, "1/s"),
        Row("smollm2", "JSON Schema, 1 stream", rates.workload("--workload json --requests 3"), 2, why=FORCED_COSTS),
        Row("smollm2", "JSON Schema, 8 streams", MANY_FORMS, 2, why=FORCED_COSTS),
        Row("smollm2", "40 tools, auto, cached", rates.many_tools, 1, "1/s", why=NO_PLACE),
        Row("embed", "embeddings", rates.embeddings(beside_stream=False), 1.2, why=SAME_LIBRARY),
        Row("embed", "embeddings beside a stream", rates.embeddings(beside_stream=True), 3, why=GAPS_FIRST),
        Row("embed", "memory after 1,000 requests", states.used_memory, 1.1, "MB", True, 1),
        Row("embed", "memory after 1,000 requests / fresh", states.growth, 1.05, "MB", True, 1),
        Row("deterministic", "1 stream", rates.decode(1, 2, 128), 0.9, rounds=2, why=IN_TURNS),
        Row("deterministic", "8 streams", rates.decode(8, 16, 40), 0.5, rounds=2, why=IN_TURNS),
        *_decoding("gemma"),
        *_beside_busy("gemma"),
        *_decoding("wide"),
        *_beside_busy("wide"),
        Row("micro", "1 stream", rates.workload("--workload decode --requests 8 --tokens 256"), 1, why=TINY_STEPS),
        Row("micro", "8 streams", MANY_TINY, 1, why=TINY_STEPS),
        *_beside_prompt("long", 8000, with_peer=False),
        *_beside_prompt("long", 16_000, with_peer=False),
    ]
