"""`localai-flask backends`: the engines, and the environments in which they are installed."""

from __future__ import annotations

from typing import Any

import click

from localai_flask.cli.backends.listing import print_backends
from localai_flask.cli.command_table import CommandTable
from localai_flask.cli.options import settings_of_use

SECTIONS = {
    "Commands": {
        "list": "localai_flask.cli.backends.listing:list_backends",
        "install": "localai_flask.cli.backends.install:install",
        "delete": "localai_flask.cli.backends.delete:delete",
    }
}


@click.group(
    cls=CommandTable, sections=SECTIONS, invoke_without_command=True, short_help="List, install and delete engines."
)
@settings_of_use("backends_path")
@click.pass_context
def backends(context: click.Context, /, **given: Any) -> None:
    """List the engines, and install or delete those that have environments of their own.

    Without a command it lists them: whether they are installed, their versions, what they compute on.
    """
    context.obj = given
    if context.invoked_subcommand is None:
        print_backends(given, as_json=False)
