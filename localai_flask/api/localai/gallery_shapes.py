"""What clients read of galleries, their models and jobs: LocalAI's names, and beside them what it does not say."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import msgspec

from localai_flask.gallery.index.entries import EntryFile, GalleryEntry, Variant
from localai_flask.gallery.jobs import Job
from localai_flask.store.jobs import Status


class GalleryName(msgspec.Struct):
    name: str
    url: str


class AvailableModel(msgspec.Struct):
    """A gallery's model; `installed` if this server has it."""

    id: str
    name: str
    gallery: GalleryName
    installed: bool
    description: str
    license: str
    icon: str
    url: str
    urls: tuple[str, ...]
    tags: tuple[str, ...]
    size: str
    context_length: int | None
    files: tuple[EntryFile, ...]
    overrides: dict[str, Any]
    variants: tuple[Variant, ...]


class GalleryShape(msgspec.Struct):
    """A gallery, and how it is; `skipped` are entries that cannot be used, with the reasons."""

    name: str
    url: str
    mirrors: tuple[str, ...]
    entries: int
    skipped: tuple[dict[str, str], ...]
    checked_at: float | None
    error: str | None


class JobStarted(msgspec.Struct):
    """A job's id, and where it can be watched."""

    uuid: str
    status: str


class JobShape(msgspec.Struct):
    """A job; `progress` is in percent. It has ended if it is `processed`, and well if then there is no `error`."""

    uuid: str
    model: str
    gallery_element_name: str
    state: Status
    phase: str
    processed: bool
    message: str
    error: str | None
    progress: float
    file_name: str
    file_size: str
    downloaded_size: str
    current_bytes: int
    total_bytes: int | None
    bytes_per_second: float
    remaining_seconds: float | None
    deletion: bool
    cancelled: bool
    cancellable: bool
    tries: int
    files: tuple[str, ...]
    kept_files: tuple[str, ...]
    note: str
    created_at: float
    changed_at: float


class Cancelled(msgspec.Struct):
    """Whether the job had not ended yet."""

    success: bool
    message: str


class Done(msgspec.Struct):
    success: bool
    message: str


class Configured(msgspec.Struct):
    """A model's YAML as it was written, and its file."""

    success: bool
    message: str
    filename: str
    name: str


class Written(msgspec.Struct):
    """A model's YAML, and its file; null for a model without one, whose YAML would say the same as this."""

    name: str
    filename: str | None
    config: str


class YamlFinding(msgspec.Struct):
    """A fault, which makes the model unusable, or a warning; `line` is 0 where it is about the whole file."""

    line: int
    key: str
    text: str
    is_fault: bool


class Checked(msgspec.Struct):
    findings: list[YamlFinding]


def available(entry: GalleryEntry, url: str, installed: Set[str]) -> AvailableModel:
    """Describe an entry; `installed` are the names of `records.installed_names`."""
    return AvailableModel(
        id=entry.id,
        name=entry.name,
        gallery=GalleryName(entry.gallery, url),
        installed=entry.is_installed(installed),
        description=entry.description,
        license=entry.license,
        icon=entry.icon,
        url=entry.url,
        urls=entry.urls,
        tags=entry.tags,
        size=entry.size,
        context_length=entry.context_length,
        files=entry.files,
        overrides=entry.overrides,
        variants=entry.variants,
    )


def job(found: Job) -> JobShape:
    """Describe a job."""
    progress, installed, removed = found.progress, found.installed, found.removed
    is_well = found.status == "completed"
    return JobShape(
        uuid=found.id,
        model=found.name,
        gallery_element_name=found.wanted,
        state=found.status,
        phase=progress.phase if found.status in ("running", "completed") else found.status,
        processed=found.has_ended,
        message=_message(found),
        error=found.error if found.status == "failed" else None,
        progress=100.0 if is_well else round(progress.percent, 2),
        file_name=progress.file,
        file_size=human_bytes(progress.total),
        downloaded_size=human_bytes(progress.done),
        current_bytes=progress.done,
        total_bytes=progress.total,
        bytes_per_second=progress.rate if found.status == "running" else 0.0,
        remaining_seconds=progress.remaining_s if found.status == "running" else None,
        deletion=found.request is None,
        cancelled=found.status == "cancelled",
        cancellable=not found.has_ended,
        tries=found.failures + 1,
        files=installed.files if installed is not None else removed.files if removed is not None else (),
        kept_files=removed.kept if removed is not None else (),
        note=installed.note if installed is not None else "",
        created_at=found.created_at,
        changed_at=found.changed_at,
    )


def _message(found: Job) -> str:
    if found.status == "failed":
        return f"error: {found.error}"
    if found.status == "queued" and found.error:
        return f"waiting to try again: {found.error}"
    return found.progress.phase if found.status == "running" else found.status


def human_bytes(count: int | None) -> str:
    """Write a size as LocalAI does; "" if it is not known."""
    if count is None:
        return ""
    size, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while size >= 1024 and unit != "TiB":
        size, unit = size / 1024, next(units)
    return f"{size:.1f} {unit}"
