"""`localai-flask rm`: delete models, with the files that no other model uses."""

from __future__ import annotations

from typing import Any

import click

from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.models.folder import find_server, folder_option, settings_of_folder
from localai_flask.cli.models.names import ModelName, complete_models
from localai_flask.cli.output import json_option, print_json


@click.command(short_help="Delete models, with their files.")
@click.argument("names", nargs=-1, required=True, type=ModelName(), metavar="MODEL...", shell_complete=complete_models)
@json_option
@with_server
@folder_option
def rm(names: tuple[str, ...], as_json: bool, target: Target, **given: Any) -> None:
    """Delete models: their YAML, and the files that no other model uses.

    \b
    localai-flask rm smollm2-135m-instruct

    A running server takes the model out of its memory first.
    """
    from localai_flask.cli.models.installation import remove_by_server, remove_here

    client = find_server(given, target)
    outcomes = []
    for name in names:
        outcome = remove_by_server(client, name) if client is not None else remove_here(settings_of_folder(given), name)
        outcomes.append(outcome)
        if not as_json:
            kept = f" Other models use {', '.join(outcome.kept)}." if outcome.kept else ""
            click.echo(f"{name} is deleted: {', '.join(outcome.files) or 'it had no files'}.{kept}")
    if as_json:
        print_json(outcomes)
