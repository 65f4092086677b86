"""`localai-flask run`: get models, serve them, and talk to the first."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from localai_flask.cli.chat.command import converse, read_question, with_chat_options
from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.exit_codes import INTERRUPTED
from localai_flask.cli.models.folder import folder_option, folder_settings
from localai_flask.cli.models.names import complete_models
from localai_flask.cli.options import as_variables

if TYPE_CHECKING:
    from localai_flask.cli.client.client import Client
    from localai_flask.settings import Settings


@click.command(short_help="Get a model, serve it, and talk to it.")
@click.argument("words", nargs=-1, required=True, metavar="MODEL... [PROMPT]...", shell_complete=complete_models)
@with_chat_options
@with_server
@folder_option
def run(words: tuple[str, ...], target: Target, models_path: str | None, **options: Any) -> None:
    """Get models if they are not here, serve them, and talk to the first, or ask it PROMPT.

    \b
    localai-flask run smollm2-135m-instruct
    localai-flask run smollm2-135m-instruct "Why is the sky blue?"
    cat notes.txt | localai-flask run ollama://qwen3:4b "Sum this up"
    localai-flask run bartowski/Qwen_Qwen3-4B-GGUF demo

    A running server is used. Where none runs, one is started for as long as you talk; without a terminal and without a
    question it stays, as with `serve`. What is known as a model, or says where one is, counts as MODEL.
    """
    from localai_flask.cli.client.client import Client, no_server

    client = Client(target)
    try:
        if client.is_running():
            _on_server(client, words, options)
        elif target.is_given:
            raise no_server(target)
        else:
            _with_own_server(client, words, {"models_path": models_path}, options)
    except KeyboardInterrupt:
        click.echo("\nStopped; what has come of a model is kept for the next time.", err=True)
        sys.exit(INTERRUPTED)


def _on_server(client: Client, words: tuple[str, ...], options: dict[str, Any]) -> None:
    from localai_flask.cli.models.installation import Wish, install_by_server
    from localai_flask.cli.run.words import divide

    known = {model.id for model in client.models()}
    models, prompt = divide(words, known)
    names = [name if name in known else install_by_server(client, Wish(name)).name for name in models]
    if question := read_question(prompt):
        converse(client, names[0], question, **options)
    elif sys.stdin.isatty():
        converse(client, names[0], "", **options)
    else:
        for name in names:
            client.call("POST", "/backend/load", {"model": name})
            click.echo(f"{name} is loaded.", err=True)


def _with_own_server(client: Client, words: tuple[str, ...], given: dict[str, Any], options: dict[str, Any]) -> None:
    from localai_flask.cli.models.installation import with_folder
    from localai_flask.cli.run.private_server import log_file, private_server
    from localai_flask.cli.run.words import divide
    from localai_flask.config.folder.registry import Registry

    settings = with_folder(folder_settings(given))
    known = Registry(settings).models()
    models, prompt = divide(words, known)
    names = [name if name in known else _install(settings, name) for name in models]
    question = read_question(prompt)
    if not question and not sys.stdin.isatty():
        os.environ.update(as_variables({"models_path": settings.models_path, "load_to_memory": tuple(names)}))
        os.execv(sys.executable, [sys.executable, "-m", "localai_flask", "serve"])
    where = f"at {client.target.shown} for as long as this lasts; its log is {log_file()}"
    click.secho(f"A server runs {where}.", dim=True, err=True)
    with private_server(client, settings, names):
        converse(client, names[0], question, **options)


def _install(settings: Settings, name: str) -> str:
    from localai_flask.cli.models.installation import Wish, install_here

    return install_here(settings, Wish(name)).name
