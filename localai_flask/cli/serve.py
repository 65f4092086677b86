"""`localai-flask serve`: the server, under gunicorn."""

from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any

import click

from localai_flask.cli.options import as_variables, load_settings, read_environment, settings_options
from localai_flask.cli.progress import shown_download
from localai_flask.settings import Settings


@click.command()
@click.option(
    "--starter",
    is_flag=True,
    help="Serve your own models folder, with a small model in it that is fetched at the first start (93 MB), unless a "
    "models folder is named.",
)
@settings_options
def serve(starter: bool, **given: Any) -> None:
    """Serve the models of a folder."""
    settings, environment = load_settings(given), read_environment(given)
    if starter and not environment.get("LOCALAI_MODELS_PATH"):
        settings = _with_starter(settings)
    before = Settings.from_environment(environment)
    chosen = {name: value for name, value in vars(settings).items() if value != getattr(before, name)}
    # What nobody has given or chosen is left to the settings file, which may come to say it while the server runs.
    os.environ.update(as_variables({**given, **chosen}))
    if any(given[field.name] for field in dataclasses.fields(settings) if field.metadata["secret"]):
        # A process's arguments can be read by every user of the machine, its environment cannot.
        os.execv(sys.executable, [sys.executable, "-m", "localai_flask", "serve"])
    from gunicorn.app.wsgiapp import run

    sys.argv = ["localai-flask", "--config", "python:localai_flask.server.gunicorn_settings"]
    run()


def _with_starter(settings: Settings) -> Settings:
    """Have the model to begin with fetched and served; where that fails, the folder is served as it is."""
    from localai_flask.errors import ApiError
    from localai_flask.gallery.starter import NAME, fetch_starter

    try:
        with shown_download(NAME) as report:
            folder = fetch_starter(settings, report)
    except ApiError as error:
        click.echo(f"{NAME} is not served: {error} Serving the models of {settings.models_path}.", err=True)
        return _loading_only_model(settings)
    click.echo(f"Serving the models of {folder}.", err=True)
    default = settings.default_model or NAME
    return dataclasses.replace(
        settings, models_path=folder, default_model=default, load_to_memory=settings.load_to_memory or (default,)
    )


def _loading_only_model(settings: Settings) -> Settings:
    from localai_flask.config.folder.registry import Registry

    names = tuple(Registry(settings).models())
    if settings.load_to_memory or len(names) != 1:
        return settings
    return dataclasses.replace(settings, load_to_memory=names)
