"""The models folder on this machine, as the commands about models see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from localai_flask.cli.options import load_settings
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError
from localai_flask.settings import Settings

folder_option = click.option(
    "--models-path",
    metavar="DIR",
    help="The models folder to read, whether a server runs or not [env: LOCALAI_MODELS_PATH].",
)


def folder_settings(given: dict[str, Any]) -> Settings:
    """Read the settings; what stands before a subcommand of `models` counts where that says nothing itself."""
    above = click.get_current_context().find_object(dict) or {}
    return load_settings(above | {name: value for name, value in given.items() if value is not None})


def names_folder(given: dict[str, Any]) -> bool:
    """Return whether the command line names a models folder, which then counts rather than a server."""
    above = click.get_current_context().find_object(dict) or {}
    return bool(given.get("models_path") or above.get("models_path"))


def size_of(config: EngineConfig) -> int | None:
    """Return the bytes of a model's file, of all its parts, or of its folder; None if it is not there."""
    try:
        path = config.model_path
    except ApiError:
        return None
    if not config.parameters.model or not path.exists():
        return None
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return sum(part.stat().st_size for part in _parts(path))


def _parts(path: Path) -> list[Path]:
    """List the files of a split GGUF file, of which the first is named; an undivided file is its only part."""
    head, mark, tail = path.name.partition("-00001-of-")
    return sorted(path.parent.glob(f"{_literal(head)}-?????-of-{_literal(tail)}")) if mark else [path]


def _literal(text: str) -> str:
    import glob

    return glob.escape(text)
