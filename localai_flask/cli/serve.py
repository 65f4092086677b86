"""`localai-flask serve`: the server, under gunicorn."""

from __future__ import annotations

import dataclasses
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
    os.environ.update(settings.to_environment())
    if any(given[field.name] for field in dataclasses.fields(settings) if field.metadata["secret"]):
        # A process's arguments can be read by every user of the machine, its environment cannot.
        os.execv(sys.executable, [sys.executable, "-m", "localai_flask", "serve"])
    from gunicorn.app.wsgiapp import run

    sys.argv = ["localai-flask", "--config", "python:localai_flask.server.gunicorn_settings"]
    run()
