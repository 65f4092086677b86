"""`localai-flask stop`: take models out of the memory."""

from __future__ import annotations

import click

from localai_flask.cli.client.shapes import System
from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.models.names import ModelName, complete_models
from localai_flask.cli.output import json_option, print_json

ACCEPTED = 202


@click.command(short_help="Take models out of the memory.")
@click.argument("names", nargs=-1, type=ModelName(), metavar="MODEL...", shell_complete=complete_models)
@click.option("--all", "takes_all", is_flag=True, help="Unload every model that is in memory.")
@click.option("--force", is_flag=True, help="End the requests that it works on, too.")
@json_option
@with_server
def stop(names: tuple[str, ...], takes_all: bool, force: bool, as_json: bool, target: Target) -> None:
    """Take models out of the memory; they come back when they are asked for.

    \b
    localai-flask stop qwen3-8b
    localai-flask stop --all

    A model first ends the requests that it works on, for as long as streams get when the server stops.
    """
    from localai_flask.cli.client.client import Client

    if bool(names) is takes_all:
        raise click.UsageError("Name the models to stop, or say --all.")
    client = Client(target)
    if takes_all:
        names = tuple(model.id for model in client.get("/system", System).models if model.workers)
    for name in names:
        answer = client.call("POST", "/backend/shutdown", {"model": name, "force": force})
        if not as_json:
            waits = answer.status_code == ACCEPTED
            click.echo(f"{name} leaves when its requests have ended." if waits else f"{name} has left the memory.")
    if as_json:
        print_json({"stopped": names})
