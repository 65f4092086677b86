"""Whether the disk has room for what is about to be written."""

from __future__ import annotations

import shutil
from pathlib import Path

from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.progress import megabytes

SPARE_BYTES = 16 << 20
"""What is left free on the disk."""


def check_room(folder: Path, needed: int, name: str) -> None:
    """Raise `DownloadFailed` unless the `needed` bytes have room."""
    free = shutil.disk_usage(folder).free
    if needed + SPARE_BYTES > free:
        raise DownloadFailed(
            f"There is no room for {name} in {folder}: it takes {megabytes(needed)} more, and "
            f"{megabytes(free)} are free."
        )
