"""`localai-flask ps`: the models in memory, what they take and until when they stay."""

from __future__ import annotations

import click

from localai_flask.cli.client.shapes import LoadedModel, System
from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.output import Column, duration, json_option, print_json, print_table, size

COLUMNS = (
    Column("NAME"),
    Column("ENGINE", rank=4),
    Column("MEMORY", rank=1, is_number=True),
    Column("STATE"),
    Column("REQUESTS", rank=2),
    Column("UNTIL", rank=3),
    Column("PIDS", rank=5),
)
IN_MEMORY = ("ready", "loading", "unloading")


@click.command()
@json_option
@with_server
def ps(as_json: bool, target: Target) -> None:
    """List the models in memory.

    REQUESTS counts those at work and those that wait; UNTIL says when an unused model leaves. A server with keys wants
    that of an administrator.
    """
    from localai_flask.cli.client.client import Client

    found = Client(target).get("/system", System).models
    loaded = [model for model in found if model.workers or model.state in IN_MEMORY]
    if as_json:
        print_json(loaded)
    else:
        print_table(COLUMNS, [_row(model) for model in loaded], empty="No model is in memory.")


def _row(model: LoadedModel) -> list[str]:
    waiting = f", {model.requests_waiting} waiting" * bool(model.requests_waiting)
    return [
        model.id,
        model.backend,
        size(model.memory_bytes),
        model.state,
        f"{model.requests_running}{waiting}",
        _until(model),
        " ".join(str(worker.pid) for worker in model.workers),
    ]


def _until(model: LoadedModel) -> str:
    if model.pinned:
        return "pinned"
    if model.unloads_in is None:
        return "it has to make room"
    return f"{duration(model.unloads_in)} from now"
