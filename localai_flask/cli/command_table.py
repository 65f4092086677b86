"""The commands, ours by their modules and those that other packages bring: each is imported when it is needed.

A package adds a command with an entry point of the group `localai_flask.commands` that names a `click.Command`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from errno import ENOSPC
from typing import TYPE_CHECKING, Any

import click

from localai_flask.cli.exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "localai_flask.commands"


class CommandTable(click.Group):
    """A group of commands that stand in a table: by section, each with the module and the name that it has there."""

    def __init__(
        self, *arguments: Any, sections: Mapping[str, Mapping[str, str]], plugins: str = "", **attributes: Any
    ) -> None:
        super().__init__(*arguments, **attributes)
        self._sections = sections
        self._places = {name: place for section in sections.values() for name, place in section.items()}
        self._plugins = plugins

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._places, *self._found()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if place := self._places.get(cmd_name):
            module, _, attribute = place.partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        entry = self._found().get(cmd_name)
        return _load(entry) if entry is not None else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; the refusal of a wrong name has those that are like it, which click does not know."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], self.list_commands(ctx)):
                said = f"{error.message.rstrip('.')}; perhaps {' or '.join(near)} is meant."
                raise click.UsageError(said, ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; Ctrl-C, where none has its own use for it, ends the program as shells expect.

        Output for which a disk has no room is told as an error that ends the command.
        """
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except OSError as error:
            if error.errno != ENOSPC:
                raise
            if not error.filename:  # Python would try to write the rest once more when it ends, and complain itself
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            place = error.filename or "The output"
            raise click.ClickException(f"{place} cannot be written: the disk is full.") from error
        except KeyboardInterrupt:
            click.echo(err=True)
            ctx.exit(INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        sections: dict[str, list[str]] = {title: list(names) for title, names in self._sections.items()}
        sections["Of other packages"] = list(self._found())
        for title, names in sections.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            if rows := [(name, command.get_short_help_str(100)) for name, command in found if command is not None]:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def _found(self) -> dict[str, EntryPoint]:
        """Find the commands of other packages; ours cannot be replaced."""
        if not self._plugins:
            return {}
        from importlib.metadata import entry_points

        return {entry.name: entry for entry in entry_points(group=self._plugins) if entry.name not in self._places}


def _load(entry: EntryPoint) -> click.Command:
    """Load another package's command; one that is broken says so when it is called, and leaves the others alone."""
    try:
        command = entry.load()
        if isinstance(command, click.Command):
            return command
        problem = f"{entry.value} is no click command"
    except Exception as error:  # whatever a stranger's module does on import
        problem = f"{entry.value} cannot be loaded: {type(error).__name__}: {error}"

    def fail() -> None:
        raise click.ClickException(f"The command {entry.name!r} of another package does not work: {problem}.")

    return click.Command(entry.name, callback=fail, short_help=f"(does not work: {problem})", add_help_option=False)
