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


def find_server(given: dict[str, Any], target: Target | None = None) -> Client | None:
    """Return the server that a command is for: one that is named, or that runs.

    None if it is for the folder: if the command line names that, or no server.
    """
    from localai_flask.cli.client.client import Client

    above = click.get_current_context().find_object(dict) or {}
    if given.get("models_path") or above.get("models_path"):
        return None
    client = Client(target or find_target())
    return client if client.target.is_given or client.is_running() else None
