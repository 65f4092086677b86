"""Names of models on the command line, and their completion: from a server that answers at once, else the folder."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem


class ModelName(click.ParamType):
    """The name of a model; an empty one is what scripts say whose variable is not set."""

    name = "model"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return value if value.strip() else self.fail("The name of a model is empty.", param, ctx)


def complete_models(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """List the models whose name begins like this; none where that fails, as a shell has no place for errors."""
    try:
        names = _names(context.params)
    except Exception:  # completion must never disturb the line that is being typed
        return []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _names(given: dict[str, Any]) -> list[str]:
    from localai_flask.cli.client.client import Client
    from localai_flask.cli.client.target import find_target

    client = Client(find_target(given.get("url"), given.get("api_key")))
    if client.is_running():
        return [model.id for model in client.models()]
    from localai_flask.cli.options import load_settings
    from localai_flask.config.folder.registry import Registry

    return list(Registry(load_settings({})).models())
