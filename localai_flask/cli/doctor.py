"""`localai-flask doctor`: what is the matter with this machine, the engine on it and the server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from localai_flask.cli.options import load_settings, settings_of_use
from localai_flask.cli.output import make_console

if TYPE_CHECKING:
    from localai_flask.diagnosis.findings import Finding

COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command(short_help="Find out what is wrong here, and how to mend it.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--try",
    "model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only try the llama.cpp engine, with this GGUF file.",
)
@settings_of_use("models_path", "backends_path", "address", "api_key", "default_model")
def doctor(as_json: bool, model: Path | None, **given: Any) -> None:
    """Find out what is wrong here, and say what to do about it.

    \b
    localai-flask doctor
    localai-flask doctor --models-path /srv/models --json
    localai-flask doctor --try model.gguf

    It looks at Python, memory and disk, estimates what the processor can do, tries the engine with the smallest model,
    and looks at models, other engines, settings and the running server. Ends with 1 if there is a problem; warnings are
    none.
    """
    findings = []
    for finding in _check(model, given):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(findings)))
    sys.exit(any(finding.status == "problem" for finding in findings))


def _check(model: Path | None, given: dict[str, Any]) -> Iterator[Finding]:
    from localai_flask.diagnosis.engine import check_engine, check_torch
    from localai_flask.diagnosis.machine import check_machine, check_models, check_server, smallest_gguf

    if model is not None:
        yield from check_engine(model)
        return
    from localai_flask.cli.client.client import Client
    from localai_flask.cli.client.target import target_at
    from localai_flask.diagnosis.environments import check_environments
    from localai_flask.diagnosis.settings import check_disk, check_settings
    from localai_flask.diagnosis.speed import check_speed

    settings = load_settings(given)
    yield from check_machine()
    yield from check_speed()
    yield from check_disk(settings.models_path)
    yield from check_models(settings)
    yield from check_engine(smallest_gguf(settings))
    yield from check_torch()
    yield from check_environments(settings)
    yield from check_settings(settings, is_running=Client(target_at(settings.listening)).is_running())
    yield from check_server(settings)


def _show(finding: Finding) -> None:
    if not sys.stdout.isatty():
        click.echo(f"{finding.status:8}{finding.topic}: {finding.text}")
        if finding.advice:
            click.echo(f"{'':8}→ {finding.advice}")
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=7)
    grid.add_row(Text(finding.status, style=COLORS[finding.status]), Text(f"{finding.topic}: {finding.text}"))
    if finding.advice:
        grid.add_row("", Text(f"→ {finding.advice}", style="dim"))
    make_console().print(grid)
