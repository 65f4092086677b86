"""The state of a model in llama-server's words, as its list of models and its events tell it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from localai_flask.gallery.jobs import Job

Value = Literal["unloaded", "loading", "loaded", "sleeping", "downloading"]
VALUES: dict[str, Value] = {"cold": "unloaded", "unloading": "unloaded", "loading": "loading", "ready": "loaded"}
"""By our own words; what has failed is unloaded too, and says so."""
STAGE = "text_model"
FAILED_EXIT = 1
"""What llama-server tells of a model that could not be loaded is how its process ended."""


class ModelStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """`failed` if it could not be loaded, with an `exit_code` by which others know it.

    `progress` while it is loaded, or while its files come, by their names.
    """

    value: Value
    failed: bool = False
    exit_code: int = 0
    progress: dict[str, Any] | None = None


class Architecture(msgspec.Struct, frozen=True):
    """What a model reads and writes."""

    input_modalities: list[str]
    output_modalities: list[str]


def status_of(state: str, loaded: float | None = None) -> ModelStatus:
    """Return the status of a state, and how far loading is (0 to 1) if that is known."""
    value = VALUES.get(state, "unloaded")
    progress = None
    if value == "loading" and loaded is not None:
        progress = {"stages": [STAGE], "current": STAGE, "value": round(loaded, 4)}
    failed = state == "failed"
    return ModelStatus(value, failed, FAILED_EXIT if failed else 0, progress)


def status_of_job(job: Job) -> ModelStatus:
    """Return the status of a model whose files come."""
    return ModelStatus("downloading", progress=progress_of(job))


def progress_of(job: Job) -> dict[str, Any]:
    """Return how far a download is, by the name of the file."""
    told = job.progress
    return {told.file: {"done": told.done, "total": told.total or 0}} if told.file else {}


def architecture(capabilities: frozenset[str]) -> Architecture:
    """Return what a model of these capabilities reads and writes."""
    reads = ["text", *(["image"] if "image" in capabilities else [])]
    return Architecture(reads, ["text"] if "generate" in capabilities or not capabilities else ["embeddings"])
