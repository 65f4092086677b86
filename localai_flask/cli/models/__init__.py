"""`localai-flask models`: the models of a server or a folder, and what is wrong with their YAML."""

from __future__ import annotations

from typing import Any

import click

from localai_flask.cli.command_table import CommandTable
from localai_flask.cli.models.listing import print_models
from localai_flask.cli.options import settings_of_use

SECTIONS = {
    "Commands": {
        "list": "localai_flask.cli.models.listing:list_models",
        "search": "localai_flask.cli.models.search:search",
        "install": "localai_flask.cli.models.pull:pull",
        "delete": "localai_flask.cli.models.rm:rm",
        "show": "localai_flask.cli.models.show:show",
        "check": "localai_flask.cli.models.check:check",
        "schema": "localai_flask.cli.models.schema:schema",
    }
}


@click.group(
    cls=CommandTable, sections=SECTIONS, invoke_without_command=True, short_help="Search, install, check models."
)
@settings_of_use("models_path")
@click.pass_context
def models(context: click.Context, /, **given: Any) -> None:
    """Find, install, list, show, check and delete models.

    Without a command it lists the models of the server, or of the folder.
    """
    context.obj = given
    if context.invoked_subcommand is None:
        print_models(given)
