"""From what is asked for to what has to be fetched and written: decided and checked before the first byte comes."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from localai_flask.config.engines.names import meant_by
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model_yaml import file_reader, yamlfile
from localai_flask.errors import ConfigError, InvalidRequest, NoRoom
from localai_flask.gallery.fit import check_fit
from localai_flask.gallery.index.entries import EntryFile, PromptTemplate
from localai_flask.gallery.index.galleries import Galleries
from localai_flask.gallery.models import names, records
from localai_flask.gallery.models.assembly import Assembly
from localai_flask.gallery.models.draft import Draft, find_name, make_draft, other_builds
from localai_flask.gallery.models.lookups import Found, find_files
from localai_flask.gallery.models.records import Record
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.gallery.sources import Access
from localai_flask.gallery.sources.offer import RemoteFile
from localai_flask.gallery.transport.remote import shown
from localai_flask.settings import Settings

TRUST = ("trust_pickles", "trust_remote_code")
"""Keys that let code of the model run."""
PROXY = "proxy"
"""The key that sends what is asked elsewhere, with a key of this machine."""


class Plan(NamedTuple):
    """What installing a model comes to; paths are relative to the models folder."""

    name: str
    yaml: str
    files: tuple[RemoteFile, ...]
    assemblies: tuple[Assembly, ...]
    """What is made of files once they are there."""
    templates: tuple[PromptTemplate, ...]
    record: Record


def check_request(request: InstallRequest, galleries: Galleries, settings: Settings) -> None:
    """Raise an `ApiError` for what can be seen to be wrong without asking anybody but the galleries."""
    name = find_name(request, galleries)
    if name or not (request.id or request.url):
        check_free(names.check_model_name(name), settings, request.force)


def make_plan(request: InstallRequest, galleries: Galleries, settings: Settings, engines: frozenset[str]) -> Plan:
    """Find out what a request comes to; `engines` are those that are here, none if that does not matter.

    A gallery's model that cannot run on this machine gives way to its first build that can, if no `variant` is asked
    for. Raises an `ApiError` with one sentence if it cannot be had, or must not be written.
    """
    try:
        return _plan(request, galleries, settings, engines)
    except NoRoom:
        for variant in other_builds(request, galleries):
            with suppress(NoRoom):
                plan = _plan(msgspec.structs.replace(request, variant=variant), galleries, settings, engines)
                note = f"{variant}, as the gallery's own build has no room here; {plan.record.note}"
                record = msgspec.structs.replace(plan.record, note=note, likeness=request.likeness)
                return plan._replace(record=record)
        raise


def _plan(request: InstallRequest, galleries: Galleries, settings: Settings, engines: frozenset[str]) -> Plan:
    access = _access(request, settings)
    draft = make_draft(request, galleries, access)
    if engines and not request.force:
        _check_engine(str(draft.content.get("backend") or ""), engines)
    if known := request.name or draft.name:
        check_free(names.check_model_name(known), settings, request.force)
    for key in TRUST:
        if not _is_trusted(request, key):
            draft.content.pop(key, None)  # else the model's code would run when it is loaded
    draft.content.pop(PROXY, None)
    if own := request.overrides.get(PROXY) or request.config_file.get(PROXY):
        draft.content[PROXY] = own
    found = find_files(draft, access)
    name = names.check_model_name(request.name or draft.name or found.name)
    check_free(name, settings, request.force)
    text = yamlfile.dump({"name": name, **{key: value for key, value in found.content.items() if key != "name"}})
    config = file_reader.check_text(text, settings.models_path / f"{name}.yaml")
    fit = check_fit(found.files, config, access)
    note = "; ".join([*found.notes, *([f"it {fit}"] if fit else [])])
    _check_templates(name, draft, settings, request.force)
    record = _record(name, request, draft, found, note)
    record = _without_found(record, found, settings.models_path)
    return Plan(name, text, found.files, found.assemblies, draft.templates, record)


def _access(request: InstallRequest, settings: Settings) -> Access:
    """Return what may be reached for a request."""
    make = Access.of_operator if request.by_operator else Access.of_client
    return make(settings, pickles=_is_trusted(request, "trust_pickles"), force=request.force)


def _is_trusted(request: InstallRequest, key: str) -> bool:
    """Return whether the request itself says so; that a gallery trusts a model's code is no reason for us to do so."""
    return any(wish.get(key) is True for wish in (request.config_file, request.overrides))


def check_free(name: str, settings: Settings, force: bool) -> None:
    """Raise `InvalidRequest` if a model of this name is there that the server has not installed."""
    file = settings.models_path.absolute() / f"{name}.yaml"
    known = Registry(settings).models().get(name)
    if known is not None and Path(known.source) != file:
        raise InvalidRequest(f"The name {name!r} is taken by {known.source}; choose another `name`.", param="name")
    if file.exists() and records.read(settings.models_path, name) is None and not force:
        raise InvalidRequest(
            f"There is a model {name!r} that was not installed from a gallery ({file.name}); choose another `name`, or "
            "write over it with `force: true`.",
            param="name",
        )


def _check_templates(name: str, draft: Draft, settings: Settings, force: bool) -> None:
    """Raise `InvalidRequest` if a template would take the place of one that the same model has not brought."""
    before = records.read(settings.models_path, name)
    own = before.templates if before is not None else ()
    for file, content in ((f"{each.name}.tmpl", each.content) for each in draft.templates):
        path = settings.models_path / file
        if not force and file not in own and path.exists() and path.read_bytes() != content.encode():
            raise InvalidRequest(
                f"There is another template {file} in the models folder; rename it, or write over it with "
                "`force: true`.",
                param="files",
            )


def _without_found(record: Record, found: Found, folder: Path) -> Record:
    """Leave out files that were there before and may be somebody's own, so that they do not go with the model.

    They are the model's if a sum is checked, or if they came with this or another one that was installed.
    """
    known = {path for each in records.read_all(folder) for path in each.paths}
    known |= {file.path for file in found.files if file.sha256 or file.git_sha1}

    def is_own(path: str) -> bool:
        return path in known or not (folder / path).exists()

    return msgspec.structs.replace(
        record,
        files=tuple(file for file in record.files if is_own(file.filename)),
        templates=tuple(path for path in record.templates if is_own(path)),
    )


def _check_engine(backend: str, engines: frozenset[str]) -> None:
    meant = meant_by(backend).engine
    if meant and meant not in engines:
        raise ConfigError(
            f"The model needs the engine {backend!r}, which is not here; the engines are {', '.join(sorted(engines))}. "
            "`force: true` installs it all the same.",
            param="backend",
        )


def _record(name: str, request: InstallRequest, draft: Draft, found: Found, note: str) -> Record:
    """Remember what came with a model; of what is made of pieces the whole alone."""
    about = draft.about
    pieces = {path for assembly in found.assemblies for path in assembly.pieces}
    fetched = [EntryFile(shown(file.url), file.path, file.sha256 or "") for file in found.files]
    return Record(
        name=name,
        gallery=about.gallery,
        entry=about.id if about.name else request.wanted,
        variant=draft.variant,
        description=about.description,
        license=about.license,
        urls=about.urls,
        files=(
            *(file for file in fetched if file.filename not in pieces),
            *(EntryFile(filename=assembly.target) for assembly in found.assemblies),
        ),
        templates=tuple(f"{template.name}.tmpl" for template in draft.templates),
        note=note,
        likeness=request.likeness,
        installed_at=time.time(),
    )
