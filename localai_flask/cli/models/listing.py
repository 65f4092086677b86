"""`localai-flask list`: the models that a running server offers, or would offer of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.models.folder import find_server, folder_option, settings_of_folder
from localai_flask.cli.output import Column, age, json_option, print_json, print_table, size

if TYPE_CHECKING:
    from localai_flask.cli.client.client import Client

EMPTY = "There are no models yet; `localai-flask models search` lists some to pull."
COLUMNS = (
    Column("NAME"),
    Column("ENGINE", rank=3),
    Column("SIZE", rank=1, is_number=True),
    Column("CONTEXT", rank=4, is_number=True),
    Column("STATE", rank=2),
    Column("MODIFIED", rank=5),
)


class Listed(msgspec.Struct):
    """A model in the list; null is what the place that was asked does not say."""

    name: str
    engine: str | None
    size: int | None
    context_length: int | None
    state: str | None
    modified: float | None
    capabilities: list[str]
    source: str | None = None


@click.command("list", short_help="List the models of the server or the folder.")
@json_option
@with_server
@folder_option
def list_models(as_json: bool, target: Target, **given: Any) -> None:
    """List the models of the running server, or of the models folder.

    \b
    localai-flask list                          as the server has them; without one, those of the folder
    localai-flask list --models-path /srv/models
    localai-flask list --json

    Without a terminal each model is a line with tabs, and there is no heading: `localai-flask list | cut -f1`.
    """
    print_models(given, target, as_json=as_json)


def print_models(given: dict[str, Any], target: Target | None = None, *, as_json: bool = False) -> None:
    """Print the list of a running server, or of the folder if that is named or nothing runs."""
    client = find_server(given, target)
    listed = _of_folder(given) if client is None else _of_server(client)
    if as_json:
        print_json(listed)
    else:
        print_table(COLUMNS, [_row(each) for each in listed], empty=EMPTY)


def _row(model: Listed) -> list[str]:
    return [
        model.name,
        model.engine or "—",
        size(model.size) if model.size is not None else "—",
        str(model.context_length or "—"),
        model.state or "—",
        age(model.modified or 0),
    ]


def _of_server(client: Client) -> list[Listed]:
    return [
        Listed(
            name=model.id,
            engine=model.backend,
            size=model.size,
            context_length=model.context_length,
            state=model.state or None,
            modified=model.created or None,
            capabilities=list(model.capabilities),
        )
        for model in client.models()
    ]


def _of_folder(given: dict[str, Any]) -> list[Listed]:
    from localai_flask.config import traits
    from localai_flask.config.folder.registry import Registry

    registry = Registry(settings_of_folder(given))
    models = registry.models()
    listed = []
    for name, config in models.items():
        target = registry.target_of(config)
        source = Path(config.source)
        listed.append(
            Listed(
                name=name,
                engine=target.backend,
                size=traits.file_bytes(target),
                context_length=traits.context_length(target),
                state="disabled" if config.disabled else None,
                modified=source.stat().st_mtime if source.exists() else None,
                capabilities=traits.public_words(traits.capabilities(target)),
                source=config.source,
            )
        )
    for name, problem in registry.problems().items():
        click.echo(f"{name} cannot be used: {problem}", err=True)
    return listed
