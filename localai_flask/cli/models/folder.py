"""The models folder on this machine, as the commands about models see it."""

from __future__ import annotations

from typing import Any

import click

from localai_flask.cli.options import load_settings
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
