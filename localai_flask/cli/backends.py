"""`localai-flask backends`: the engines, their versions, and what they compute on."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

import click
import msgspec

from localai_flask.cli.output import Column, json_option, print_json, print_table

if TYPE_CHECKING:
    from localai_flask.backends import Entry

COLUMNS = (Column("ENGINE"), Column("VERSION", rank=1), Column("DEVICE", rank=2), Column("STATE"))


class Engine(msgspec.Struct):
    """An engine; `version` is that of the library behind it, `install` the command where that is missing."""

    name: str
    is_installed: bool
    version: str | None = None
    device: str | None = None
    install: str | None = None


@click.group(invoke_without_command=True, short_help="List the engines, with version and device.")
@click.pass_context
def backends(context: click.Context) -> None:
    """List the engines: whether they are installed, their versions, what they compute on."""
    if context.invoked_subcommand is None:
        _list(as_json=False)


@backends.command("list")
@json_option
def list_backends(as_json: bool) -> None:
    """List the engines, with what installs those that are missing."""
    _list(as_json=as_json)


def _list(*, as_json: bool) -> None:
    from localai_flask.backends import BACKENDS

    found = [_describe(name, entry) for name, entry in BACKENDS.items()]
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, [_row(engine) for engine in found])


def _row(engine: Engine) -> list[str]:
    return [engine.name, engine.version or "—", engine.device or "—", engine.install or "installed"]


def _describe(name: str, entry: Entry) -> Engine:
    from localai_flask.backends import is_installed

    if not is_installed(name):
        return Engine(name, False, install=f"pip install 'localai-flask[{entry.extra}]'")
    version = importlib.metadata.version(entry.package) if entry.package else _version(entry.library)
    return Engine(name, True, version, _device(name))


def _version(library: str | None) -> str | None:
    """Return the version of the package that brings a library, which is not imported."""
    if library is None:
        return None
    packages = importlib.metadata.packages_distributions().get(library, [library])
    try:
        return importlib.metadata.version(packages[0])
    except importlib.metadata.PackageNotFoundError:
        return None


def _device(name: str) -> str | None:
    """Return what an engine was built for, as its files say; that is no promise that the driver works."""
    from localai_flask.diagnosis.gpus import built_for, find_gpus, library_folder, torch_without_cuda

    if name == "llama-cpp":
        folder = library_folder()
        words = built_for(folder) if folder else []
        return ", ".join(words) or "cpu"
    if name == "transformers":
        has_card = any("cuda" in gpu.words for gpu in find_gpus())
        return "cuda" if has_card and not torch_without_cuda() else "cpu"
    return None
