"""The `localai-flask` command; each module holds one of its commands."""

from __future__ import annotations

import click

from localai_flask import __version__
from localai_flask.cli.backends import backends
from localai_flask.cli.doctor import doctor
from localai_flask.cli.keys import keys
from localai_flask.cli.models import models
from localai_flask.cli.serve import serve
from localai_flask.cli.worker import worker


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__)
def main() -> None:
    """A local inference server with OpenAI's API, over models that you run yourself."""


for command in (serve, models, keys, backends, worker, doctor):
    main.add_command(command)
