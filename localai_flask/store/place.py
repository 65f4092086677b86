"""Where the database is; says so without loading what opens it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from localai_flask.settings import Settings


def default_path(settings: Settings) -> Path:
    """The SQLite file of a server with these models, if the settings name no other database."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    models = hashlib.sha256(os.fsencode(settings.models_path.absolute())).hexdigest()[:8]
    return Path(home) / "localai-flask" / f"responses-{models}.db"


def exists(settings: Settings) -> bool:
    """Tell whether there is a database that may hold something already."""
    return bool(settings.database_url) or default_path(settings).exists()
