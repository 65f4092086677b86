"""`localai-flask pull`: get models, from galleries and from everywhere else."""

from __future__ import annotations

import sys
from typing import Any

import click

from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.exit_codes import INTERRUPTED
from localai_flask.cli.models.folder import find_server, folder_option, folder_settings
from localai_flask.cli.models.names import ModelName
from localai_flask.cli.output import json_option, print_json


@click.command(short_help="Get models from galleries and elsewhere.")
@click.argument("models", nargs=-1, required=True, type=ModelName(), metavar="MODEL...")
@click.option("--name", metavar="NAME", help="What to call it here; for one MODEL.")
@click.option("--variant", metavar="NAME", help="Which build of a gallery's model to take.")
@click.option("--force", is_flag=True, help="Write over a model of this name, and take one whose engine is not here.")
@json_option
@with_server
@folder_option
def pull(models: tuple[str, ...], name: str | None, as_json: bool, target: Target, **given: Any) -> None:
    """Get models: by their names in a gallery, or by where they are.

    \b
    localai-flask pull smollm2-135m-instruct
    localai-flask pull bartowski/Qwen_Qwen3-4B-GGUF            a fitting quantization
    localai-flask pull bartowski/Qwen_Qwen3-4B-GGUF:Q4_K_M
    localai-flask pull ollama://qwen3:4b
    localai-flask pull https://example.org/model.gguf --name mine

    The running server gets them, so that it serves them at once; without one they are put into the models folder. What
    was broken off is resumed when it is asked for again. `localai-flask models search` looks through the galleries.
    """
    from localai_flask.cli.models.installation import Wish, install_by_server, install_here, with_folder

    if name and len(models) > 1:
        raise click.UsageError("--name is for one model.")
    client = find_server(given, target)
    outcomes = []
    for model in models:
        wish = Wish(model, name or "", given["variant"] or "", given["force"])
        try:
            if client is not None:
                outcome = install_by_server(client, wish)
            else:
                outcome = install_here(with_folder(folder_settings(given)), wish)
        except KeyboardInterrupt:
            click.echo("\nStopped; what has come is kept for the next time.", err=True)
            sys.exit(INTERRUPTED)
        outcomes.append(outcome)
        if not as_json:
            click.echo(f"{outcome.name} is installed.{f' ({outcome.note})' if outcome.note else ''}")
    if as_json:
        print_json(outcomes)
