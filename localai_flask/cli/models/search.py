"""`localai-flask models search`: what the galleries offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

import click
import msgspec

from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.models.folder import find_server, folder_option, folder_settings
from localai_flask.cli.output import Column, json_option, print_json, print_table

COLUMNS = (
    Column("NAME"),
    Column("SIZE", rank=1, is_number=True),
    Column("CONTEXT", rank=3, is_number=True),
    Column("LICENSE", rank=4),
    Column("GALLERY", rank=5),
    Column("HERE", rank=2),
)


class GalleryName(msgspec.Struct):
    name: str = ""


class Found(msgspec.Struct):
    """A model of a gallery, as `GET /models/available` has it."""

    name: str
    gallery: GalleryName
    installed: bool = False
    description: str = ""
    license: str = ""
    tags: Sequence[str] = ()
    size: str = ""
    context_length: int | None = None
    urls: Sequence[str] = ()


@click.command(short_help="List the models that the galleries offer.")
@click.argument("words", nargs=-1, metavar="[WORD]...")
@json_option
@with_server
@folder_option
def search(words: tuple[str, ...], as_json: bool, target: Target, **given: Any) -> None:
    """List the models of the galleries that have every WORD in their name, description or tags.

    \b
    localai-flask models search
    localai-flask models search qwen coder

    `localai-flask pull NAME` gets one of them.
    """
    client = find_server(given, target)
    if client is not None:
        found = client.get(f"/models/available?{urlencode({'term': ' '.join(words)})}", list[Found])
    else:
        found = _look_through(words, given)
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, [_row(each) for each in found], empty="No model of the galleries has these words.")


def _row(model: Found) -> list[str]:
    here = "installed" if model.installed else ""
    length = str(model.context_length or "—")
    return [model.name, model.size or "—", length, model.license or "—", model.gallery.name, here]


def _look_through(words: Sequence[str], given: dict[str, Any]) -> list[Found]:
    """Read the galleries in this process, and say which cannot be read."""
    from localai_flask.config.folder.registry import Registry
    from localai_flask.gallery.index.galleries import Galleries
    from localai_flask.gallery.models import records

    settings = folder_settings(given)
    galleries = Galleries(settings)
    for state in galleries.states():
        if state.error:
            click.echo(f"The gallery {state.name} cannot be read: {state.error}", err=True)
    installed = records.installed_names(settings.models_path, Registry(settings).models())
    return [
        Found(
            name=entry.name,
            gallery=GalleryName(entry.gallery),
            installed=entry.is_installed(installed),
            description=entry.description,
            license=entry.license,
            tags=entry.tags,
            size=entry.size,
            context_length=entry.context_length,
            urls=entry.urls,
        )
        for entry in galleries.entries()
        if entry.has_words(words)
    ]
