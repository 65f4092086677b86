"""Whether a command about models is for a server or for the models folder on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localai_flask.cli.client.target import Target, find_target
from localai_flask.cli.options import load_settings
from localai_flask.settings import Settings

if TYPE_CHECKING:
    from localai_flask.cli.client.client import Client

folder_option = click.option(
    "--models-path",
    metavar="DIR",
    help="The models folder to use, whether a server runs or not [env: LOCALAI_MODELS_PATH].",
)


def folder_settings(given: dict[str, Any]) -> Settings:
    """Read the settings; what stands before a subcommand of `models` counts where that says nothing itself."""
    above = click.get_current_context().find_object(dict) or {}
    return load_settings(above | {name: value for name, value in given.items() if value is not None})


def settings_of_folder(given: dict[str, Any]) -> Settings:
    """Do the same for a command that only looks; a folder that the command line names has to be there."""
    settings = folder_settings(given)
    if _is_folder_named(given):
        need_folder(settings)
    return settings


def need_folder(settings: Settings) -> None:
    """Refuse a models folder that is not there: a misspelt name must not look like a folder without models."""
    if not settings.models_path.is_dir():
        raise click.UsageError(f"There is no folder {settings.models_path}; name another with --models-path.")


def find_server(given: dict[str, Any], target: Target | None = None) -> Client | None:
    """Return the server that a command is for: one that is named, or that runs.

    None if it is for the folder: if the command line names that, or no server.
    """
    from localai_flask.cli.client.client import Client

    if _is_folder_named(given):
        return None
    client = Client(target or find_target())
    return client if client.target.is_given or client.is_running() else None


def _is_folder_named(given: dict[str, Any]) -> bool:
    """Return whether the command line names a models folder."""
    above = click.get_current_context().find_object(dict) or {}
    return bool(given.get("models_path") or above.get("models_path"))
