"""What tells files of weights from others, also where another file has the same name and the same size."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from localai_flask.config.files.settling import files_of

SAMPLES, SAMPLE_BYTES = 64, 4096
"""How many parts of a file of weights are read to know it again, and how long each is."""


def identity_of(path: Path) -> list[Any]:
    """Return sizes, times, and parts of what the files hold that a model consists of."""
    return [part for file in files_of(path) for part in (*_stamp(file), _sample(file))]


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _sample(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        size = os.fstat(opened.fileno()).st_size
        for part in range(SAMPLES):
            opened.seek(size * part // SAMPLES)
            digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()
