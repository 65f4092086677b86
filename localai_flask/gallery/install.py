"""The one way to install a model: for a job, at the start of the server, and on the command line without a server."""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from localai_flask.atomic_file import editing
from localai_flask.gallery.download import fetch_files
from localai_flask.gallery.errors import Stopped
from localai_flask.gallery.index.galleries import Galleries
from localai_flask.gallery.models import names, records
from localai_flask.gallery.models.assembly import assemble
from localai_flask.gallery.models.plan import Plan, make_plan
from localai_flask.gallery.models.records import Record
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.gallery.progress import Report
from localai_flask.settings import Settings

log = logging.getLogger("gunicorn.error")


class Installed(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an installation has put into the models folder."""

    name: str
    files: tuple[str, ...] = ()
    note: str = ""
    """What was chosen, and why."""


def install(
    request: InstallRequest,
    settings: Settings,
    *,
    report: Report,
    stopped: Callable[[], bool] = lambda: False,
    engines: frozenset[str] = frozenset(),
    planned: Callable[[Plan], None] = lambda plan: None,
) -> Installed:
    """Fetch a model's files and write its YAML, which a running server then serves at once.

    `planned` is called when it is known what will be fetched. With `engines`, a model for another one is refused.
    Raises an `ApiError` with one sentence; what was received of files is kept for the next try.
    """
    plan = make_plan(request, Galleries(settings), settings, engines)
    planned(plan)
    fetch_files(plan.files, settings.models_path, report=report, stopped=stopped)
    for assembly in plan.assemblies:
        assemble(assembly, settings.models_path, stopped)
    if stopped():
        raise Stopped("The installation was stopped; what was received is kept.")
    with editing(settings.models_path):
        _write(plan, settings)
    log.info("model %s is installed from %s", plan.name, plan.record.entry)
    return Installed(plan.name, plan.record.paths, plan.record.note)


def is_installed(request: InstallRequest, settings: Settings) -> bool:
    """Return whether this very request has been carried out, and all that came of it is still there."""
    for record in records.read_all(settings.models_path):
        if record.likeness == request.likeness:
            paths = (f"{record.name}.yaml", *record.paths)
            return all((settings.models_path / path).exists() for path in paths)
    return False


def _write(plan: Plan, settings: Settings) -> None:
    """Write the YAML after all that it names, since the model is there with it."""
    for template in plan.templates:
        name = names.check_file_name(f"{template.name}.tmpl")
        records.write_whole(names.check_place(settings.models_path, name), template.content)
    before = records.read(settings.models_path, plan.name)
    record = plan.record if before is None else _with_files_of(before, plan.record)
    records.write(settings.models_path, record)
    records.write_whole(settings.models_path / f"{plan.name}.yaml", plan.yaml)


def _with_files_of(before: Record, record: Record) -> Record:
    """Remember beside what came now what an earlier installation has brought, so that it goes with the model."""
    files = {file.filename: file for file in (*before.files, *record.files)}
    templates = dict.fromkeys((*before.templates, *record.templates))
    return msgspec.structs.replace(record, files=tuple(files.values()), templates=tuple(templates))
