"""Which models folder this is: a name of its own, by which jobs in a shared database find who can fill it."""

from __future__ import annotations

import uuid
from pathlib import Path

from localai_flask.errors import ServerConfigError

FILE = ".localai-flask-folder"
"""Hidden, as it is no model; it goes with the folder, to another machine or into another container."""


def find_folder_id(models_path: Path) -> str | None:
    """Return the folder's name; None if it has never been given one, so that nothing was ever asked for it."""
    try:
        return (models_path / FILE).read_text().strip()[:64] or None
    except OSError:
        return None


def give_folder_id(models_path: Path) -> str:
    """Return the folder's name, which it gets if it has none; raise `ServerConfigError` if it cannot be written to."""
    file = models_path / FILE
    try:
        models_path.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _create(file, uuid.uuid4().hex)
        return file.read_text().strip()[:64]
    except OSError as error:
        raise ServerConfigError(
            f"Nothing can be installed into the models folder {models_path.absolute()}: {error.strerror or error}; let "
            "this server's user write there."
        ) from error


def _create(file: Path, text: str) -> None:
    """Write a file that nobody sees half written; of two that do so at once one wins."""
    fresh = file.with_name(f"{file.name}.{text}.part")
    fresh.write_text(text)
    try:
        file.hardlink_to(fresh)
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        fresh.replace(file)
    finally:
        fresh.unlink(missing_ok=True)
