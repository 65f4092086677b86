"""`localai-flask show`: what is known of one model, and the configuration with which it is served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click
import msgspec

from localai_flask.cli.client.shapes import Model
from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.exit_codes import CommandFailed, NoSuchThing, in_commands
from localai_flask.cli.models.folder import find_server, folder_option, folder_settings, settings_of_folder
from localai_flask.cli.models.names import ModelName, complete_models
from localai_flask.cli.output import json_option, make_console, print_json, size

if TYPE_CHECKING:
    from localai_flask.config.effective import EffectiveKey
    from localai_flask.config.model import ModelConfig
    from localai_flask.settings import Settings

LONGEST = 60
"""Characters of a value that are shown; all of it is in the JSON."""


class Shown(msgspec.Struct):
    """What is known of a model; null is what neither the server nor the folder says."""

    name: str
    engine: str | None = None
    state: str | None = None
    file: str | None = None
    size: int | None = None
    architecture: str | None = None
    parameters: str | None = None
    context_length: int | None = None
    trained_context: int | None = None
    chat_template: bool | None = None
    capabilities: list[str] = []
    source: str | None = None
    config: list[EffectiveKey] = []
    """The keys that decide how the model is served, and where their values come from."""


@click.command(short_help="Show a model and its configuration.")
@click.argument("name", type=ModelName(), metavar="MODEL", shell_complete=complete_models)
@json_option
@with_server
@folder_option
def show(name: str, as_json: bool, target: Target, **given: Any) -> None:
    """Show what is known of a model, and the configuration with which it is served.

    The server says what state it is in; its file and its YAML are read from the models folder of this machine.
    """
    shown = Shown(name)
    client = find_server(given, target)
    by_server = None if client is None else client.get(f"/v1/models/{quote(name)}", Model)
    by_folder = None if by_server is not None and target.is_given else _look_up(name, given)
    if isinstance(by_folder, CommandFailed):
        if by_server is None:
            raise by_folder
    elif by_folder is not None:
        shown = _of_folder(by_folder, folder_settings(given))
    if by_server is not None:
        _add_server(shown, by_server)
    if as_json:
        print_json(shown)
    else:
        _print(shown)


def _look_up(name: str, given: dict[str, Any]) -> ModelConfig | CommandFailed:
    from localai_flask.config.folder.registry import Registry
    from localai_flask.errors import ApiError, ModelNotFound

    try:
        return Registry(settings_of_folder(given)).look_up(name)
    except ModelNotFound as error:
        return NoSuchThing(in_commands(str(error)))
    except ApiError as error:
        return CommandFailed(str(error))


def _of_folder(config: ModelConfig, settings: Settings) -> Shown:
    from localai_flask.config import traits
    from localai_flask.config.effective import effective_keys
    from localai_flask.config.files.gguf import inspect
    from localai_flask.errors import ApiError

    shown = Shown(
        name=config.name,
        engine=config.backend,
        file=str(config.model_path) if config.parameters.model else None,
        size=traits.file_bytes(config),
        context_length=traits.context_length(config),
        capabilities=traits.public_words(traits.capabilities(config)),
        source=config.source,
        config=effective_keys(config, settings),
    )
    if config.parameters.model and Path(config.model_path).is_file():
        try:
            header = inspect(config.model_path)
        except ApiError:  # a file for another engine
            return shown
        shown.architecture, shown.parameters = header.architecture or None, header.size_label or None
        shown.trained_context, shown.chat_template = header.context_length or None, header.chat_template is not None
    return shown


def _add_server(shown: Shown, model: Model) -> None:
    shown.name, shown.state = model.id, model.state or None
    shown.engine = shown.engine or model.backend
    shown.size = shown.size or model.size
    shown.context_length = model.context_length or shown.context_length
    shown.capabilities = list(model.capabilities) or shown.capabilities


def _print(shown: Shown) -> None:
    from rich.markup import escape

    console = make_console()
    rows = {
        "Name": shown.name,
        "Engine": shown.engine,
        "State": shown.state,
        "File": shown.file,
        "Size": size(shown.size) if shown.size else None,
        "Architecture": shown.architecture,
        "Parameters": shown.parameters,
        "Context": _context(shown),
        "Template": {True: "its own", False: "none in the file", None: None}[shown.chat_template],
        "Can": ", ".join(shown.capabilities),
    }
    for title, value in rows.items():
        if value:
            console.print(f"[bold]{title:14}[/]", end="")
            console.print(value, markup=False, soft_wrap=True)
    if shown.config:
        console.print(f"\n[bold]Configuration[/] [dim]({escape(shown.source or '')})[/]", soft_wrap=True)
        for each in shown.config:
            console.print(f"{each.key}: {_as_yaml(each.value)}", end="", markup=False, highlight=False, soft_wrap=True)
            console.print(f"  [dim]# {escape(each.origin)}[/]", soft_wrap=True)


def _context(shown: Shown) -> str | None:
    if not shown.context_length:
        return None
    trained = shown.trained_context
    more = f", of {trained} that it was trained for" if trained and trained != shown.context_length else ""
    return f"{shown.context_length} tokens{more}"


def _as_yaml(value: Any) -> str:
    """Write a value on one line."""
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
