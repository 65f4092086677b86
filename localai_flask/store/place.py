"""Where the database is; says so without loading what opens it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from localai_flask.settings import Settings
from localai_flask.user_folders import state_folder


def default_path(settings: Settings) -> Path:
    """Return the SQLite file of a server with these models, if the settings name no other database."""
    models = hashlib.sha256(os.fsencode(settings.models_path.absolute())).hexdigest()[:8]
    return state_folder() / f"responses-{models}.db"


def exists(settings: Settings) -> bool:
    """Return whether there is a database that may hold something already."""
    return bool(settings.database_url) or default_path(settings).exists()


def describe_obstacle(path: Path) -> str:
    """Describe why this user cannot keep an SQLite file there, which needs its folder too; empty if nothing bars it."""
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        return f"{folder} is no folder"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"the folder {folder} cannot be written by this user"
    if path.exists() and not (path.is_file() and os.access(path, os.R_OK | os.W_OK)):
        return f"{path} cannot be written by this user"
    return ""
