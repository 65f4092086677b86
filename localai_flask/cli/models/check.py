"""`localai-flask models check`: what is wrong with the YAML of models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from localai_flask.cli.models.folder import folder_settings, need_folder
from localai_flask.cli.options import settings_of_use
from localai_flask.settings import Settings

if TYPE_CHECKING:
    from localai_flask.config.model import ModelConfig
    from localai_flask.config.model_yaml.findings import Finding


@click.command(short_help="List what is wrong in the YAML of models.")
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--strict", is_flag=True, help="Exit 1 on a warning too.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found as a JSON list.")
@settings_of_use("models_path")
@click.pass_context
def check(context: click.Context, /, files: tuple[Path, ...], strict: bool, as_json: bool, **given: Any) -> None:
    """List what is wrong in FILES, or in all YAML of the models folder, with its lines.

    Exits 1 if a model is unusable; what costs a warning only has no effect or is passed over.
    """
    settings = folder_settings(given)
    found = [finding for file in files for finding in _findings_of(file)] if files else _findings(settings)
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in found], indent=2, ensure_ascii=False))
    for finding in () if as_json else found:
        click.echo(f"{finding.place}: {'error' if finding.is_fault else 'warning'}: {finding.text}")
    if not found and not as_json:
        click.echo("Nothing is wrong.")
    context.exit(1 if any(strict or finding.is_fault for finding in found) else 0)


def _findings(settings: Settings) -> list[Finding]:
    from localai_flask.config.folder.registry import Registry

    need_folder(settings)
    registry = Registry(settings)
    options = [finding for config in registry.models().values() for finding in _of_options(config)]
    return sorted([*registry.findings(), *options])


def _findings_of(file: Path) -> list[Finding]:
    """Check one file, as if the folder that it lies in were the models folder."""
    from localai_flask.config.files.listing import Entry
    from localai_flask.config.folder import catalog
    from localai_flask.config.model_yaml import file_reader

    stat = file.stat()
    entry = Entry(file.name, "yaml", stat.st_mtime_ns, stat.st_size)
    found = catalog.build((entry,), {file.name: file_reader.read(file)}, Settings(models_path=file.parent))
    return sorted([*found.findings, *(each for config in found.models.values() for each in _of_options(config))])


def _of_options(config: ModelConfig) -> list[Finding]:
    """Find what the model's engine would say when it is loaded."""
    from localai_flask import backends
    from localai_flask.config.files.listing import is_yaml
    from localai_flask.config.model_yaml import yamlfile
    from localai_flask.config.model_yaml.findings import Finding
    from localai_flask.config.model_yaml.keypaths import dotted
    from localai_flask.config.model_yaml.variants import find_document

    source = Path(config.source)
    has_engine = is_yaml(source) and not (config.alias or config.parent or config.variant_of)
    notes = backends.check(config) if has_engine else []
    lines = find_document(yamlfile.read(source), config.name) if notes else None
    return [
        Finding(
            config.source,
            lines.line(note.path) if lines else 0,
            config.name,
            dotted(note.path),
            note.text + ".",
            note.is_fault,
        )
        for note in notes
    ]
