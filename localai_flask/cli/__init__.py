"""The `localai-flask` command; each module holds one of its commands."""

from __future__ import annotations

import click

from localai_flask import __version__
from localai_flask.cli.command_table import ENTRY_POINTS, CommandTable

SECTIONS = {
    "Server": {
        "serve": "localai_flask.cli.serve:serve",
        "worker": "localai_flask.cli.worker:worker",
        "keys": "localai_flask.cli.keys:keys",
    },
    "Use models": {
        "run": "localai_flask.cli.run.command:run",
        "chat": "localai_flask.cli.chat.command:chat",
        "launch": "localai_flask.cli.launch.command:launch",
    },
    "Look after models": {
        "pull": "localai_flask.cli.models.pull:pull",
        "rm": "localai_flask.cli.models.rm:rm",
        "list": "localai_flask.cli.models.listing:list_models",
        "show": "localai_flask.cli.models.show:show",
        "ps": "localai_flask.cli.models.ps:ps",
        "stop": "localai_flask.cli.models.stop:stop",
        "models": "localai_flask.cli.models:models",
    },
    "This machine": {
        "doctor": "localai_flask.cli.doctor:doctor",
        "bench": "localai_flask.cli.bench.command:bench",
        "backends": "localai_flask.cli.backends:backends",
        "completion": "localai_flask.cli.completion:completion",
    },
}


@click.group(
    cls=CommandTable,
    sections=SECTIONS,
    plugins=ENTRY_POINTS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
@click.version_option(__version__, prog_name="localai-flask")
def main() -> None:
    """A local inference server with OpenAI's API, over models of your own.

    \b
    localai-flask run smollm2-135m-instruct    get a small model and talk to it
    localai-flask serve --starter              serve a small model to begin with
    localai-flask chat                         talk to what is served
    localai-flask doctor                       find out what is wrong here

    Commands talk to the server of --url, of LOCALAI_URL, or of the settings (127.0.0.1:8080). They end with 0, or with
    1: failed, 2: wrong usage, 3: no server, 4: no such model, 5: a key is missing.
    """
