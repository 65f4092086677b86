"""The folders of this user: for what the server and the commands keep, and for models; XDG's variables move them."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return this user's home; the root where there is none, as for a container's user that is only a number."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def state_folder() -> Path:
    """Return where the database, histories and logs lie."""
    return Path(os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state") / "localai-flask"


def state_file(name: str) -> Path:
    """Return where a file of the state lies, in a folder that is there."""
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder / name


def data_folder() -> Path:
    """Return where this user's own models folder lies."""
    return Path(os.environ.get("XDG_DATA_HOME") or home() / ".local" / "share") / "localai-flask"


def cache_folder() -> Path:
    """Return where this user has what can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache") / "localai-flask"
