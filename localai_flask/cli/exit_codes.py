"""The exit codes of the commands, and the errors that end one with them (docs/cli.md lists them)."""

from __future__ import annotations

import click

FAILED = 1
USAGE = 2
NO_SERVER = 3
NOT_FOUND = 4
REFUSED = 5
INTERRUPTED = 130


class CommandFailed(click.ClickException):
    """What was asked for did not come about; the message says why and what to do."""

    exit_code = FAILED


class NoServer(CommandFailed):
    """Nothing answers where the server should be."""

    exit_code = NO_SERVER


class NoSuchThing(CommandFailed):
    """There is no model, job or request of that name."""

    exit_code = NOT_FOUND


class Refused(CommandFailed):
    """The server wants a key, or one with more rights."""

    exit_code = REFUSED
