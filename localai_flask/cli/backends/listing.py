"""`localai-flask backends list`: the engines, their versions, what they compute on, and where they are installed."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from localai_flask.cli.backends.folder import backends_folder, folder_option
from localai_flask.cli.output import Column, json_option, print_json, print_table, size

if TYPE_CHECKING:
    from localai_flask.backends import Entry
    from localai_flask.backends.environments.folder import Environment, Environments

COLUMNS = (
    Column("ENGINE"),
    Column("VERSION", rank=1),
    Column("DEVICE", rank=2),
    Column("SIZE", rank=3),
    Column("STATE"),
)
State = Literal["installed", "environment", "outdated", "broken", "installing", "missing"]
WORDS: dict[State, str] = {
    "installed": "installed with the server",
    "environment": "installed in its own environment",
    "outdated": "out of date",
    "installing": "being installed",
    "missing": "not installed",
}


class Engine(msgspec.Struct):
    """An engine; `version` is that of the library behind it, `install` the command that mends its state."""

    name: str
    is_installed: bool
    state: State
    version: str | None = None
    device: str | None = None
    size: int | None = None
    path: str | None = None
    problem: str | None = None
    install: str | None = None


@click.command("list")
@folder_option
@json_option
def list_backends(as_json: bool, **given: Any) -> None:
    """List the engines: version, device, size, and where they are installed or what installs them."""
    print_backends(given, as_json=as_json)


def print_backends(given: dict[str, Any], *, as_json: bool) -> None:
    """Print what there is of every engine."""
    from localai_flask.backends import BACKENDS

    environments = backends_folder(given)
    found = [describe(name, entry, environments) for name, entry in BACKENDS.items()]
    if as_json:
        print_json(found)
    else:
        print_table(COLUMNS, [_row(engine) for engine in found])


def _row(engine: Engine) -> list[str]:
    state = WORDS.get(engine.state, f"broken: {engine.problem}")
    if engine.state == "installed" and engine.path is not None:
        state = f"the program {engine.path}"
    if engine.install is not None:
        state = f"{state}: {engine.install}"
    taken = size(engine.size) if engine.size is not None else "—"
    return [engine.name, engine.version or "—", engine.device or "—", taken, state]


def describe(name: str, entry: Entry, environments: Environments) -> Engine:
    """Describe an engine as it is on this machine."""
    from localai_flask.backends import is_installed
    from localai_flask.backends.llama_server.programs import find_program
    from localai_flask.settings import Settings

    home = entry.environment
    if home is not None and (found := environments.find(home)) is not None:
        return _in_environment(name, entry, found)
    if entry.is_program and (program := find_program(name, Settings.from_environment())) is not None:
        return _as_program(name, program)
    if is_installed(name, environments):
        version = importlib.metadata.version(entry.package) if entry.package else _version(entry.library)
        return Engine(name, True, "installed", version, _device(name))
    if home is not None and environments.is_being_changed(home):
        return Engine(name, False, "installing")
    return Engine(name, False, "missing", install=entry.remedy)


def _in_environment(name: str, entry: Entry, found: Environment) -> Engine:
    from localai_flask.backends.environments.recipes import is_outdated

    record, fault = found.record, found.fault
    state: State = "broken" if fault else "outdated" if is_outdated(found) else "environment"
    return Engine(
        name,
        not fault,
        state,
        record.version,
        record.platform,
        record.size,
        str(found.path),
        fault or None,
        entry.remedy if state != "environment" else None,
    )


def _as_program(name: str, program: Path) -> Engine:
    """Describe an engine whose program lies on this machine, or is said to."""
    if program.is_file():
        return Engine(name, True, "installed", path=str(program))
    return Engine(name, False, "broken", path=str(program), problem=f"{program} is no file")


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
