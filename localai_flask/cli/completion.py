"""`localai-flask completion`: what makes a shell complete our commands, options and models."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")
PROGRAM, VARIABLE = "localai-flask", "_LOCALAI_FLASK_COMPLETE"


@click.command(short_help="Print what makes a shell complete all this.")
@click.argument("shell", type=click.Choice(SHELLS), required=False)
def completion(shell: str | None) -> None:
    """Print what makes SHELL complete commands, options and the names of models.

    \b
    bash    localai-flask completion bash > ~/.local/share/bash-completion/completions/localai-flask
    zsh     localai-flask completion zsh > ~/.zfunc/_localai-flask     (a folder of $fpath)
    fish    localai-flask completion fish > ~/.config/fish/completions/localai-flask.fish

    Without SHELL it is the one that you use, as $SHELL says.
    """
    from localai_flask.cli import main

    name = shell or Path(os.environ.get("SHELL", "")).name
    found = get_completion_class(name) if name in SHELLS else None
    if found is None:
        raise click.UsageError(f"Name one of {', '.join(SHELLS)}; $SHELL is {name or 'not set'}.")
    click.echo(found(main, {}, PROGRAM, VARIABLE).source())
