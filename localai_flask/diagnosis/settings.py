"""What of the settings keeps a server from starting, or has no effect: the checks of its start, asked before it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from localai_flask.address import Address
from localai_flask.diagnosis.findings import Finding
from localai_flask.server.start_checks import find_settings_doubts, find_settings_faults
from localai_flask.settings import Settings
from localai_flask.store.place import default_path, describe_obstacle

TOPIC = "Settings"
LITTLE_DISK = 5 << 30
"""Bytes below which there is no room for a model of a common size."""


def check_settings(settings: Settings, *, is_running: bool) -> Iterator[Finding]:
    """Look at the settings; one that is running has its address, and has started."""
    addresses: list[Address] = [] if is_running else settings.addresses
    found = [Finding("problem", TOPIC, _sentence(text)) for text in find_settings_faults(settings, addresses)]
    found += [Finding("warning", TOPIC, _sentence(text)) for text in find_settings_doubts(settings)]
    if not settings.database_url and (obstacle := describe_obstacle(default_path(settings))):
        advice = "set XDG_STATE_HOME to a folder that can be written, or LOCALAI_DATABASE_URL"
        found.append(Finding("warning", TOPIC, f"Responses and jobs cannot be stored, as {obstacle}.", advice))
    if not found:
        count = sum(name.startswith("LOCALAI_") for name in os.environ)
        found.append(Finding("ok", TOPIC, _counted(count)))
    yield from found


def check_disk(folder: Path) -> Iterator[Finding]:
    """Look for room for models, where their folder is or would be made."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(there).free
    advice = "delete something, or name a folder on another disk in LOCALAI_MODELS_PATH"
    text = f"{free / 1e9:.1f} GB are free for models in {there}."
    yield Finding("warning", "Disk", text, advice) if free < LITTLE_DISK else Finding("ok", "Disk", text)
    if not os.access(there, os.W_OK):
        yield Finding("warning", "Disk", f"This user cannot write to {there}.", "models can be served, but not fetched")


def _counted(count: int) -> str:
    if not count:
        return "No variable sets any; the defaults hold."
    return (
        f"{count} variables set them, and all have an effect."
        if count > 1
        else "One variable sets them, and it has an effect."
    )


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}.".replace("..", ".")
