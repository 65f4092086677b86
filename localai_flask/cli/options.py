"""Options of the commands that are settings of the server, so that flag, variable and documentation never differ."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import click

from localai_flask.setting_fields import env_name
from localai_flask.settings import Settings


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
    """Combine flags with the environment, flags first; a value that does not parse is a usage error.

    Where no models folder is named and there is none here, it is this user's own, if that is there.
    """
    environment = dict(os.environ)
    for field in dataclasses.fields(Settings):
        value = given.get(field.name)
        if value is not None:
            environment[env_name(field)] = str(value).lower() if isinstance(value, bool) else value
    try:
        settings = Settings.from_environment(environment)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if environment.get("LOCALAI_MODELS_PATH") or settings.models_path.exists():
        return settings
    from localai_flask.gallery.starter import models_folder

    own = models_folder()
    return dataclasses.replace(settings, models_path=own) if own.is_dir() else settings
