"""`localai-flask serve`: the server, under gunicorn."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from localai_flask.cli.options import load_settings, settings_options


@click.command()
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

    sys.argv = ["localai-flask", "--config", "python:localai_flask.server.gunicorn_settings"]
    run()
