"""The exit codes of the commands, and the errors that end one with them (docs/cli.md lists them)."""

from __future__ import annotations

import click

FAILED = 1
USAGE = 2
NO_SERVER = 3
NOT_FOUND = 4
REFUSED = 5
INTERRUPTED = 130
COMMANDS = {"GET /v1/models": "localai-flask list", "GET /models/available": "localai-flask models search"}
"""What errors tell clients of the API to ask, and the commands that do the same."""


class CommandFailed(click.ClickException):
    """What was asked for did not come about; the message says why and what to do."""

    exit_code = FAILED


def in_commands(text: str) -> str:
    """Return an error of the server with our commands where it names endpoints that do the same."""
    for endpoint, command in COMMANDS.items():
        text = text.replace(endpoint, f"`{command}`")
    return text


class NoServer(CommandFailed):
    """Nothing answers where the server should be."""

    exit_code = NO_SERVER


class NoSuchThing(CommandFailed):
    """There is no model, job or request of that name."""

    exit_code = NOT_FOUND


class Refused(CommandFailed):
    """The server wants a key, or one with more rights."""

    exit_code = REFUSED
