"""`localai-flask keys`: make, list and remove API keys in their file, which a running server reads again at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from localai_flask.atomic_file import editing, replace_text
from localai_flask.cli.exit_codes import NoSuchThing
from localai_flask.cli.output import json_option, print_json
from localai_flask.config.files.bounded import read_text
from localai_flask.errors import ConfigError
from localai_flask.keys import file as key_file
from localai_flask.keys.file import MOST_BYTES, NAME, NAMES, Entry
from localai_flask.keys.keyring import digest, new_secret

in_file = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="LOCALAI_API_KEYS_FILE",
    metavar="FILE",
    required=True,
    help="The file of keys [env: LOCALAI_API_KEYS_FILE].",
)


def _names(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


@click.group()
def keys() -> None:
    """Make, list and remove the API keys of a file."""


@keys.command(short_help="Make a key, and print it once.")
@click.argument("name")
@click.option("--admin/--no-admin", default=None, help="Whether it may load, stop and change models as well.")
@click.option("--models", metavar="NAMES", callback=_names, help="Models that it may use, as in `qwen*,small`.")
@click.option("--max-requests", type=click.IntRange(0), help="How many it may have answered at once (0: any number).")
@click.option("--priority", type=int, help="Of requests that wait, the lowest number is served first (0).")
@click.option("--replace", is_flag=True, help="Make a new key for a name that has one, for the same rights and data.")
@in_file
def add(name: str, replace: bool, file: Path, **given: Any) -> None:
    """Make a key and print it, once: the file has only what it is recognised by."""
    if not NAME.fullmatch(name):
        raise click.BadParameter(f"{name!r} is no name for a key; use {NAMES}.", param_hint="NAME")
    secret = new_secret()
    with _locked(file):
        text, entries = _opened(file)
        if (name in entries) is not replace:
            raise click.UsageError(
                f"{file} has no key {name!r} to replace." if replace else f"{file} has {name!r} already; see --replace."
            )
        rights = {field: value for field, value in given.items() if value is not None}
        entry = msgspec.structs.replace(entries.get(name) or Entry(""), sha256=digest(secret), **rights)
        _write(file, key_file.with_entry(key_file.without_entry(text, name), name, entry))
    click.echo(f"{name!r} is in {file}. Clients send what follows; it is shown only now:", err=True)
    click.echo(secret)


@keys.command("list")
@json_option
@in_file
def list_keys(file: Path, as_json: bool) -> None:
    """List the names of the keys and what they may do."""
    entries = _opened(file)[1]
    if as_json:
        print_json([{"name": name, **_rights(entry)} for name, entry in entries.items()])
        return
    for name, entry in entries.items():
        said = [f"models {', '.join(entry.models) or 'none'}"]
        said += ["administrator"] * entry.admin
        said += [f"{entry.max_requests} requests at once"] * bool(entry.max_requests)
        said += [f"priority {entry.priority}"] * bool(entry.priority)
        click.echo(f"{name}\t{'; '.join(said)}")


def _rights(entry: Entry) -> dict[str, Any]:
    """Return what a key may do, without what it is recognised by."""
    return {name: value for name, value in msgspec.structs.asdict(entry).items() if name != "sha256"}


@keys.command()
@click.argument("name")
@in_file
def remove(name: str, file: Path) -> None:
    """Remove a key, which is refused from then on."""
    with _locked(file):
        text, entries = _opened(file)
        if name not in entries:
            raise NoSuchThing(f"{file} has no key {name!r}; it has: {', '.join(entries) or 'none'}.")
        _write(file, key_file.without_entry(text, name))
    click.echo(f"{name!r} is gone from {file}.", err=True)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Keep other commands from changing the file meanwhile."""
    try:
        with editing(file.parent):
            yield
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}.") from error


def _opened(file: Path) -> tuple[str, dict[str, Entry]]:
    """Read the file's text and keys; none if it has still to be made."""
    if not file.exists() or not file.stat().st_size:
        return "", {}
    try:
        return read_text(file, MOST_BYTES), key_file.read(file)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error


def _write(file: Path, text: str) -> None:
    try:
        replace_text(file, text)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written: {error.strerror}.") from error
