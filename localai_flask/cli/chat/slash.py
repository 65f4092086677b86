"""What begins with `/` in a chat: a table of words, each with a function that changes or shows the session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from localai_flask.cli.chat.session import SETTINGS, Session, read_setting, unknown_setting
from localai_flask.cli.client.client import Client
from localai_flask.cli.exit_codes import CommandFailed


class Leave(Exception):
    """The user wants to leave the chat."""


class Chat(NamedTuple):
    """What a word may change."""

    session: Session
    client: Client


class Word(NamedTuple):
    run: Callable[[Chat, str], None]
    usage: str
    about: str


def run_word(chat: Chat, line: str) -> None:
    """Do what a line says that begins with `/`; raise `CommandFailed` if it cannot be done, `Leave` to leave."""
    name, _, rest = line.partition(" ")
    word = WORDS.get(name)
    if word is None:
        raise CommandFailed(f"There is no {name}; /help lists what there is.")
    word.run(chat, rest.strip())


def _help(_: Chat, __: str) -> None:
    for name, word in WORDS.items():
        click.echo(f"  {f'{name} {word.usage}'.strip():20}{word.about}")
    click.echo(f"\n  {chr(34) * 3:20}around a text of several lines; Alt-Enter begins a line")
    click.echo(f"  {'Ctrl-C':20}stops the answer, or gives up the line")
    click.echo(f"  {'Ctrl-D':20}leaves")


def _system(chat: Chat, text: str) -> None:
    if text:
        chat.session.system = "" if text == "none" else text
    click.echo(f"The system prompt is: {chat.session.system or 'that of the model'}")


def _model(chat: Chat, name: str) -> None:
    names = [model.id for model in chat.client.models()]
    if name and name not in names:
        raise CommandFailed(f"There is no model {name!r}; there are: {', '.join(names)}.")
    if name:
        chat.session.model = name
        click.echo(f"Answers come from {name} now.")
        return
    for each in names:
        click.echo(f"{'*' if each == chat.session.model else ' '} {each}")


def _set(chat: Chat, text: str) -> None:
    name, _, value = text.partition(" ")
    settings = chat.session.settings
    if name and name not in SETTINGS:
        raise CommandFailed(unknown_setting(name))
    if name and value.strip():
        settings[name] = read_setting(value.strip())
    elif name:
        settings.pop(name, None)
    for known, found in settings.items():
        click.echo(f"  {known} {msgspec.json.encode(found).decode()}")
    if not settings:
        click.echo("Everything is as the model has it.")


def _reset(chat: Chat, _: str) -> None:
    chat.session.messages.clear()
    click.echo("The conversation begins anew.")


def _save(chat: Chat, name: str) -> None:
    if not name:
        raise CommandFailed("Name the file, as in /save talk.json.")
    path = Path(name).expanduser()
    chat.session.save(path)
    click.echo(f"The conversation is in {path}.")


def _load(chat: Chat, name: str) -> None:
    if not name:
        raise CommandFailed("Name the file, as in /load talk.json.")
    loaded, session = Session.load(Path(name).expanduser()), chat.session
    session.system, session.settings, session.messages = loaded.system, loaded.settings, loaded.messages
    if loaded.model and loaded.model in [model.id for model in chat.client.models()]:
        session.model = loaded.model
    elif loaded.model:
        click.echo(f"There is no model {loaded.model!r} here; answers come from {session.model}.")
    count = len(session.messages)
    click.echo(f"The conversation has {count} message{'s' * (count != 1)}.")


def _leave(_: Chat, __: str) -> None:
    raise Leave


WORDS = {
    "/system": Word(_system, "[TEXT]", "shows or sets the system prompt; none: the model's own"),
    "/model": Word(_model, "[NAME]", "lists the models, or has another one answer"),
    "/set": Word(_set, "[NAME [VALUE]]", "sets a parameter; without VALUE takes it back"),
    "/save": Word(_save, "FILE", "writes the conversation to a file"),
    "/load": Word(_load, "FILE", "goes on with a conversation that was saved"),
    "/reset": Word(_reset, "", "forgets the conversation; the system prompt stays"),
    "/help": Word(_help, "", "shows this"),
    "/bye": Word(_leave, "", "leaves, as Ctrl-D does"),
}
