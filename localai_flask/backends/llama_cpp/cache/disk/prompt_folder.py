"""The folder of one model's prompts: by what it is named, and which folders have become useless.

What was computed is of use only for the same weights, changed in the same way, with the same engine on the same kind of
processor. All of that is in the folder's name; the model's template is in the tokens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localai_flask.backends.llama_cpp.cache.disk.block_file import MAGIC, SUFFIX, UNFINISHED
from localai_flask.backends.llama_cpp.cache.disk.disk_cache import KEPT_S, DiskCache
from localai_flask.backends.llama_cpp.model.file_identity import identity_of
from localai_flask.backends.llama_cpp.model.library import ENGINE_VERSION
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.machine import cpu_flags

log = logging.getLogger(__name__)

ABOUT = "prompt-cache.json"
_NAME = re.compile(r"[0-9a-f]{32}")
STARTED_S = 600
"""A file that was begun so long ago is not being written any more."""


def open_disk(model: Model, options: EngineOptions) -> DiskCache | None:
    """Open what is on disk for a model as it was loaded; None if there is to be nothing, or can be nothing."""
    limit, needs_spare = options.cache_disk_bytes, not model.cannot_roll_back
    if not model.generates or not limit or (needs_spare and model.sequences <= model.slots):
        return None
    folder = _choose_folder(model, options)
    return None if folder is None else DiskCache(folder, limit, is_read_only=options.prompt_cache_ro)


def _choose_folder(model: Model, options: EngineOptions) -> Path | None:
    """Make the folder for a model as it was loaded, and remove what has become useless; None if there can be none."""
    identity = _identity(model, options)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
    folder = options.prompt_cache_folder / digest
    try:
        for each in (options.prompt_cache_folder, folder):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not options.prompt_cache_ro:
            about = {"model": str(model.path), "weights": identity["weights"], "engine": ENGINE_VERSION}
            (folder / ABOUT).write_text(json.dumps(about))
            _sweep(options.prompt_cache_folder, folder, about)
    except OSError as error:
        log.warning("%s: no prompts are kept on disk, as %s cannot be used: %s", model.path.name, folder, error)
        return None
    return folder


def _identity(model: Model, options: EngineOptions) -> dict[str, Any]:
    rope_limit = int(model.metadata("rope.scaling.original_context_length") or 0)
    return {
        "format": MAGIC.decode(),
        "engine": ENGINE_VERSION,
        "processor": [platform.machine(), *sorted(cpu_flags())],
        "weights": identity_of(model.path),
        "adapters": [[identity_of(each.path), each.scale] for each in options.adapters],
        "overrides": options.overrides,
        "rope": [options.rope_scaling, options.rope, model.slots * model.context_size > rope_limit > 0],
        "types": [options.cache_type_k, options.cache_type_v, model.uses_flash, options.repack, options.swa_full],
    }


def _sweep(root: Path, ours: Path, about: dict[str, Any]) -> None:
    """Remove the prompts of models that are gone or replaced, those that nobody has used for long, and remains."""
    for folder in root.iterdir():
        if folder != ours and _NAME.fullmatch(folder.name) and _is_useless(folder, about):
            _remove(os.scandir(folder))
            with contextlib.suppress(OSError):
                folder.rmdir()
    now = time.time()
    _remove(entry for entry in os.scandir(ours) if now - entry.stat().st_mtime > _longest_s(entry.name))


def _longest_s(name: str) -> float:
    return STARTED_S if name.endswith(UNFINISHED) else KEPT_S


def _remove(entries: Iterable[os.DirEntry[str]]) -> None:
    for entry in entries:
        if entry.name == ABOUT or entry.name.endswith((SUFFIX, UNFINISHED)):
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def _is_useless(folder: Path, about: dict[str, Any]) -> bool:
    try:
        theirs = json.loads((folder / ABOUT).read_text())
        model, weights = Path(theirs["model"]), theirs["weights"]
        newest = max(entry.stat().st_mtime for entry in os.scandir(folder))
    except (OSError, ValueError, TypeError, KeyError):
        return False
    is_replaced = str(model) == about["model"] and weights != about["weights"]
    return is_replaced or not model.exists() or time.time() - newest > KEPT_S
