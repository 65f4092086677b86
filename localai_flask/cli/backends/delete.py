"""`localai-flask backends delete`: remove the environments of engines."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from localai_flask.cli.backends.folder import backends_folder, folder_option
from localai_flask.cli.exit_codes import CommandFailed, NoSuchThing
from localai_flask.cli.output import json_option, print_json, size


class Deleted(msgspec.Struct):
    """An environment that was removed."""

    name: str
    size: int


@click.command(short_help="Delete the environments of engines.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--force", is_flag=True, help="Also where a model worker runs on it, which then breaks sooner or later.")
@json_option
@folder_option
def delete(names: tuple[str, ...], force: bool, as_json: bool, **given: Any) -> None:
    """Delete the environments of engines; an engine that the server's own environment has serves on.

    \b
    localai-flask backends delete vllm

    One on which a model runs stays as it is: unload the model first.
    """
    from localai_flask.errors import ApiError

    environments = backends_folder(given)
    deleted = []
    try:
        for name in names:
            if (freed := environments.delete(name, force=force)) is None:
                raise NoSuchThing(f"No environment of {name} is installed; `localai-flask backends list` lists them.")
            deleted.append(Deleted(name, freed))
            if not as_json:
                click.echo(f"{name} is deleted, which frees {size(freed)}.")
    except ApiError as error:
        raise CommandFailed(str(error)) from error
    if as_json:
        print_json(deleted)
