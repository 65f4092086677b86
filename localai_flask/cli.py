"""The `localai-flask` command. Its options are the settings, so that flag, variable and documentation never differ."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from localai_flask import __version__
from localai_flask.settings import Settings, env_name


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every setting; the command gets what was given as text, by field name."""
    for field in reversed(dataclasses.fields(Settings)):
        flag = f"--{field.name.replace('_', '-')}"
        about = f"{field.metadata['help']} [env: {env_name(field)}; default: {_shown(field.default)}]"
        if isinstance(field.default, bool):
            option = click.option(f"{flag}/--no-{flag[2:]}", field.name, default=None, help=about)
        else:
            metavar = field.metadata["metavar"] or type(field.default).__name__.upper()
            option = click.option(flag, field.name, metavar=metavar, default=None, help=about)
        command = option(command)
    return command


def _shown(default: Any) -> str:
    return "none" if default in ("", ()) else str(default).lower() if isinstance(default, bool) else str(default)


def load_settings(given: dict[str, Any]) -> Settings:
    """Combine flags with the environment, flags first; a value that does not parse is a usage error."""
    environment = dict(os.environ)
    for field in dataclasses.fields(Settings):
        value = given.get(field.name)
        if value is not None:
            environment[env_name(field)] = str(value).lower() if isinstance(value, bool) else value
    try:
        return Settings.from_environment(environment)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__)
def main() -> None:
    """A local inference server with OpenAI's API, over models that you run yourself."""


@main.command()
@settings_options
def serve(**given: Any) -> None:
    """Serve the models of a folder."""
    settings = load_settings(given)
    if not settings.models_path.is_dir():
        raise click.UsageError(
            f"There is no folder {settings.models_path}; make it and put a .gguf file or a YAML file there, "
            "or name another with --models-path."
        )
    os.environ.update(settings.to_environment())
    from gunicorn.app.wsgiapp import run

    sys.argv = ["localai-flask", "--config", "python:localai_flask.server"]
    run()


@main.command()
@settings_options
def models(**given: Any) -> None:
    """List the models that the server would offer."""
    from localai_flask.config.registry import Registry

    registry = Registry(load_settings(given))
    for name, config in registry.models().items():
        click.echo(f"{name}\t{config.backend}\t{config.source}")
    for name, problem in registry.problems().items():
        click.echo(f"{name}\tunusable: {problem}", err=True)


@main.command()
def backends() -> None:
    """List the engines and whether their libraries are installed."""
    from localai_flask.backends import BACKENDS, is_installed

    for name, entry in BACKENDS.items():
        how = "installed" if is_installed(name) else f"pip install 'localai-flask[{entry.extra}]'"
        click.echo(f"{name}\t{how}")


@main.group()
def worker() -> None:
    """Lend this machine to models that run on another."""


@worker.command("llama-cpp-rpc")
@click.option(
    "--address",
    default="127.0.0.1:50052",
    metavar="HOST:PORT",
    show_default=True,
    help="Where to listen. There is no password: choose an address that only your own machines reach.",
)
@click.option("--threads", type=click.IntRange(0), default=0, help="Threads of the CPU (0: all cores).")
@click.option("--device", "devices", multiple=True, metavar="NAME", help="A device to lend; default: GPUs, else CPU.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder that keeps weights, which are then not sent again when a model is loaded again.",
)
def llama_cpp_rpc(address: str, threads: int, devices: tuple[str, ...], cache: Path | None) -> None:
    """Serve this machine's devices to llama-cpp models elsewhere, which name it in the option rpc_servers."""
    from localai_flask.backends.llama_cpp.rpc_server import run
    from localai_flask.errors import ConfigError

    try:
        run(address, threads=threads, devices=devices, cache=cache)
    except ConfigError as error:
        raise click.ClickException(str(error)) from error
