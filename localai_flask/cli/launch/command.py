"""`localai-flask launch`: start a coding agent on the running server, or print what it has to be told."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import click

from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.exit_codes import CommandFailed, NoSuchThing
from localai_flask.cli.launch.clients import CLIENTS, Plan, Server
from localai_flask.cli.models.names import complete_models
from localai_flask.user_folders import state_folder

SHORT_CONTEXT = 32768
"""Tokens below which agents hardly get to their question: their prompts have 20,000 to 45,000."""


@click.command(
    short_help="Start a coding agent on the running server.", context_settings={"ignore_unknown_options": True}
)
@click.argument("client", type=click.Choice(tuple(CLIENTS)))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--model", "-m", metavar="NAME", help="Model to use.", shell_complete=complete_models)
@click.option("--print", "is_printed", is_flag=True, help="Print what the client has to be told, and start nothing.")
@with_server
def launch(client: str, arguments: tuple[str, ...], model: str | None, is_printed: bool, target: Target) -> None:
    """Start a coding agent on the running server, or print how.

    \b
    localai-flask launch claude --model qwen3-coder
    localai-flask launch codex -m qwen3-coder -- exec "Explain this repository"
    localai-flask launch continue --print >> notes.txt

    ARGUMENTS go to the client. Your own configuration of it stays as it is: the server is named by variables,
    arguments, or a file of ours. docs/agents.md tells how the clients fare.
    """
    server = _server(target, model)
    known = CLIENTS[client]
    plan = known.plan(server)
    file = state_folder() / "launch" / plan.file_name if plan.file_name else None
    plan = _with_file(plan, file)
    if is_printed:
        _print(plan, file, arguments)
        return
    if server.context_length and server.context_length < SHORT_CONTEXT:
        advice = "set `context_size: 65536` in its YAML if the model and the memory allow it"
        click.echo(f"{server.model} takes {server.context_length} tokens, little for agents; {advice}.", err=True)
    if shutil.which(plan.command[0]) is None:
        raise CommandFailed(f"{plan.command[0]} is not installed; `{known.install}` brings it.")
    if file is not None:
        _write(file, plan.file_text)
    os.execvpe(plan.command[0], [*plan.command, *arguments], {**os.environ, **plan.environment})


def _server(target: Target, name: str | None) -> Server:
    """Look at the server, and at the model that is named or would answer."""
    from localai_flask.cli.chat.command import choose_model
    from localai_flask.cli.client.client import Client

    if target.socket:
        raise click.UsageError(f"Clients do not reach {target.shown}; have the server listen at an address.")
    models = Client(target).models()
    chosen = choose_model(models, name, target.default_model)
    found = next((model for model in models if model.id == chosen), None)
    if found is None:
        names = ", ".join(model.id for model in models) or "none"
        raise NoSuchThing(f"There is no model {chosen!r}; the models are: {names}.")
    return Server(target.url, target.api_key, found.id, found.context_length)


def _with_file(plan: Plan, file: Path | None) -> Plan:
    command = [str(file) if part == "{file}" else part for part in plan.command]
    environment = {name: str(file) if value == "{file}" else value for name, value in plan.environment.items()}
    return plan._replace(command=command, environment=environment)


def _write(file: Path, text: str) -> None:
    """Write a file that may hold a key, for this user alone."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        opened.write(text)


def _print(plan: Plan, file: Path | None, arguments: tuple[str, ...]) -> None:
    """Print it as lines of a shell, which may be run as they are."""
    if file is not None:
        click.echo(f"mkdir -p {shlex.quote(str(file.parent))}")
        click.echo(f"cat > {shlex.quote(str(file))} <<'END'\n{plan.file_text}END")
    variables = [f"{name}={shlex.quote(value)}" for name, value in plan.environment.items()]
    click.echo(" \\\n".join([*variables, shlex.join([*plan.command, *arguments])]))
