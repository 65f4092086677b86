"""`localai-flask models schema`: the JSON Schema of a model's YAML."""

from __future__ import annotations

import click


@click.command(short_help="Print the JSON Schema of a model's YAML.")
def schema() -> None:
    """Print the JSON Schema of a model's YAML, for editors that complete and check it.

    \b
    Example:
      localai-flask models schema > model.schema.json
    and at the top of the YAML:
      # yaml-language-server: $schema=model.schema.json
    """
    import json

    from localai_flask.config.model_yaml.json_schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
