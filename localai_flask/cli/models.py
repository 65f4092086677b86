"""`localai-flask models`: what the models folder holds."""

from __future__ import annotations

from typing import Any

import click

from localai_flask.cli.options import load_settings, settings_options


@click.command()
@settings_options
def models(**given: Any) -> None:
    """List the models that the server would offer."""
    from localai_flask.config.registry import Registry

    registry = Registry(load_settings(given))
    for name, config in registry.models().items():
        click.echo(f"{name}\t{config.backend}\t{config.source}")
    for name, problem in registry.problems().items():
        click.echo(f"{name}\tunusable: {problem}", err=True)
