"""Options of the commands that are settings of the server, so that flag, variable and documentation never differ."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import click

from localai_flask.settings import Settings
from localai_flask.settings import file as settings_file
from localai_flask.settings.fields import env_name, render


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every setting; the command gets what was given as text, by field name."""
    return _with_options(command, frozenset(field.name for field in dataclasses.fields(Settings)))


def settings_of_use(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Do what `settings_options` does for a command whose help shows these alone; it takes the others as well."""
    return lambda command: _with_options(command, frozenset(("settings_file", *names)))


def _with_options(command: Callable[..., Any], shown: frozenset[str]) -> Callable[..., Any]:
    for field in reversed(dataclasses.fields(Settings)):
        flag = f"--{field.name.replace('_', '-')}"
        hidden = field.name not in shown
        about = f"{field.metadata['help']} [env: {env_name(field)}; default: {_shown(field.default)}]"
        if isinstance(field.default, bool):
            option = click.option(f"{flag}/--no-{flag[2:]}", field.name, default=None, help=about, hidden=hidden)
        else:
            metavar = field.metadata["metavar"] or type(field.default).__name__.upper()
            option = click.option(flag, field.name, metavar=metavar, default=None, help=about, hidden=hidden)
        command = option(command)
    return command


def _shown(default: Any) -> str:
    return "none" if default in ("", ()) else str(default).lower() if isinstance(default, bool) else str(default)


def as_variables(given: dict[str, Any]) -> dict[str, str]:
    """Return the variables that say what flags say; an empty flag is the default."""
    flags = {field: given.get(field.name) for field in dataclasses.fields(Settings)}
    texts = {
        field: value if isinstance(value, str) else render(value) for field, value in flags.items() if value is not None
    }
    return {env_name(field): text or render(field.default) for field, text in texts.items()}


def read_environment(given: dict[str, Any]) -> dict[str, str]:
    """Combine flags, environment and settings file, in this order; a file that cannot be used is a usage error."""
    try:
        return settings_file.completed({**os.environ, **as_variables(given)})
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def load_settings(given: dict[str, Any]) -> Settings:
    """Read what flags, environment and settings file say; a value that does not parse is a usage error.

    Where no models folder is named and there is none here, it is this user's own, if that is there.
    """
    environment = read_environment(given)
    try:
        settings = Settings.from_environment(environment)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if environment.get("LOCALAI_MODELS_PATH") or settings.models_path.exists():
        return settings
    from localai_flask.gallery.starter import models_folder

    own = models_folder()
    return dataclasses.replace(settings, models_path=own) if own.is_dir() else settings
