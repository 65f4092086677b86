"""Question after question, until the user leaves; and the one question of a command line or a pipe."""

from __future__ import annotations

import sys

import click

from localai_flask.cli.chat.answers import Answer, read_answer
from localai_flask.cli.chat.lines import Lines, TerminalLines, history_file, read_text
from localai_flask.cli.chat.session import Message, Session
from localai_flask.cli.chat.slash import WORDS, Chat, Leave, run_word
from localai_flask.cli.chat.view import PlainView, TerminalView
from localai_flask.cli.client.client import Client
from localai_flask.cli.exit_codes import INTERRUPTED, CommandFailed
from localai_flask.cli.output import make_console


def ask_once(client: Client, session: Session, question: str, *, is_plain: bool, is_verbose: bool) -> None:
    """Show the answer to one question; what was interrupted ends the program as Ctrl-C does."""
    session.messages.append(Message("user", question))
    view = TerminalView(make_console(), is_plain=is_plain) if sys.stdout.isatty() else PlainView()
    answer = read_answer(client, session.request(), view)
    if is_verbose:
        click.echo(answer.summary, err=True)
    if answer.is_stopped:
        sys.exit(INTERRUPTED)


def chat_on_terminal(client: Client, session: Session, *, is_plain: bool) -> None:
    """Talk until Ctrl-D or /bye."""
    lines = TerminalLines(list(WORDS), history_file())
    chat, view = Chat(session, client), TerminalView(make_console(), is_plain=is_plain)
    click.secho(f"{session.model} answers. /help lists what else there is; Ctrl-D leaves.", dim=True)
    while True:
        try:
            text = _next(lines)
            if text.startswith("/"):
                run_word(chat, text)
            elif text:
                _answer(chat, view, text)
        except CommandFailed as error:
            error.show()
        except (EOFError, Leave):
            return


def _next(lines: Lines) -> str:
    """Read what comes next; a line that is given up is none."""
    try:
        return read_text(lines)
    except KeyboardInterrupt:
        click.secho("Ctrl-D or /bye leaves.", dim=True)
        return ""


def _answer(chat: Chat, view: TerminalView, question: str) -> None:
    """Show an answer; a question that failed is no part of the conversation."""
    messages = chat.session.messages
    messages.append(Message("user", question))
    answer: Answer | None = None
    try:
        answer = read_answer(chat.client, chat.session.request(), view)
    finally:
        if answer is not None and (answer.content or not answer.is_stopped):
            messages.append(Message("assistant", answer.content))
        else:
            messages.pop()
    click.secho(f"({answer.summary})\n", dim=True)
