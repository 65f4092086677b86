"""The folder of environments that a command of `backends` is about."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from localai_flask.cli.options import load_settings
from localai_flask.settings import Settings

if TYPE_CHECKING:
    from localai_flask.backends.environments.folder import Environments

folder_option = click.option(
    "--backends-path", metavar="DIR", help="The folder of environments [env: LOCALAI_BACKENDS_PATH]."
)


def backends_settings(given: dict[str, Any]) -> Settings:
    """Read the settings; what stands before a subcommand counts where that says nothing itself."""
    above = click.get_current_context().find_object(dict) or {}
    return load_settings(above | {name: value for name, value in given.items() if value is not None})


def backends_folder(given: dict[str, Any]) -> Environments:
    """Return the environments of the folder that the settings name."""
    from localai_flask.backends.environments.folder import Environments

    return Environments(backends_settings(given).backends_folder)
