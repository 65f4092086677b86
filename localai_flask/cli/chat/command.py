"""`localai-flask chat`: talk to a model of the running server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.exit_codes import NoSuchThing
from localai_flask.cli.models.names import ModelName, complete_models

if TYPE_CHECKING:
    from localai_flask.cli.chat.session import Session
    from localai_flask.cli.client.client import Client
    from localai_flask.cli.client.shapes import Model


def with_chat_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that every command has which shows answers."""
    options = (
        click.option("--system", metavar="TEXT", help="System prompt, instead of the model's own."),
        click.option(
            "--set", "settings", nargs=2, multiple=True, metavar="NAME VALUE", help="A parameter: `temperature 0.2`."
        ),
        click.option("--plain", is_flag=True, help="Show the text as the model writes it, without Markdown."),
        click.option("--verbose", is_flag=True, help="Say how fast the answer to a single question was."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(short_help="Talk to a model of the running server.")
@click.argument("model", required=False, type=ModelName(), shell_complete=complete_models)
@click.argument("prompt", required=False)
@with_chat_options
@with_server
def chat(model: str | None, prompt: str | None, target: Target, **options: Any) -> None:
    """Talk to a MODEL of the running server, or ask it one question.

    \b
    localai-flask chat                                   talk to the default or first model
    localai-flask chat qwen3-8b
    localai-flask chat qwen3-8b "Why is the sky blue?"   one answer
    git diff | localai-flask chat qwen3-8b "Review this"
    localai-flask chat --url http://gpu:8080 --set temperature 0.2

    Within a chat /help lists what there is: /system, /model, /set, /save, /load, /reset. Ctrl-C stops an answer, Ctrl-D
    leaves.
    """
    from localai_flask.cli.client.client import Client

    client = Client(target)
    converse(client, choose_model(client.models(), model, target.default_model), read_question(prompt or ""), **options)


def read_question(prompt: str) -> str:
    """Return the question: the words of the command line, with what a pipe brings behind them."""
    piped = "" if sys.stdin.isatty() else sys.stdin.read().strip("\n")
    return "\n\n".join(part for part in (prompt, piped) if part)


def choose_model(models: Sequence[Model], name: str | None, default: str = "") -> str:
    """Return the name to ask for: the one that is given, the default, one that is loaded, or the first that answers."""
    if name or default in [model.id for model in models]:
        return name or default
    writing = [model for model in models if not model.capabilities or "chat" in model.capabilities]
    if not writing:
        raise NoSuchThing("The server has no model that answers; `localai-flask list` lists what it has.")
    ready = [model for model in writing if model.state == "ready"]
    return (ready or writing)[0].id


def converse(
    client: Client,
    model: str,
    question: str,
    *,
    system: str | None,
    settings: Sequence[tuple[str, str]],
    plain: bool,
    verbose: bool,
) -> None:
    """Show the answer to a question; without one, talk."""
    from localai_flask.cli.chat.loop import ask_once, chat_on_terminal

    session = _session(model, system, settings)
    if question:
        ask_once(client, session, question, is_plain=plain, is_verbose=verbose)
    elif not sys.stdin.isatty() or not sys.stdout.isatty():
        raise click.UsageError("There is no question: give one as PROMPT, or in a pipe.")
    else:
        chat_on_terminal(client, session, is_plain=plain)


def _session(model: str, system: str | None, settings: Sequence[tuple[str, str]]) -> Session:
    from localai_flask.cli.chat.session import SETTINGS, Session, read_setting, unknown_setting

    if unknown := [name for name, _ in settings if name not in SETTINGS]:
        raise click.BadParameter(unknown_setting(unknown[0]), param_hint="--set")
    return Session(model, system or "", {name: read_setting(value) for name, value in settings})
