"""`localai-flask backends`: the engines and what they need."""

from __future__ import annotations

import click


@click.command()
def backends() -> None:
    """List the engines and whether their libraries are installed."""
    from localai_flask.backends import BACKENDS, is_installed

    for name, entry in BACKENDS.items():
        how = "installed" if is_installed(name) else f"pip install 'localai-flask[{entry.extra}]'"
        click.echo(f"{name}\t{how}")
