"""From what is asked for to what has to be fetched and written: decided and checked before the first byte comes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from localai_flask.config import catalog
from localai_flask.config.references import is_address
from localai_flask.config.registry import Registry
from localai_flask.errors import ConfigError, InvalidRequest
from localai_flask.gallery.errors import NoReference
from localai_flask.gallery.fit import check_fit
from localai_flask.gallery.index.entries import EntryFile, GalleryEntry, PromptTemplate, check_file
from localai_flask.gallery.index.galleries import Galleries
from localai_flask.gallery.models import names, records
from localai_flask.gallery.models.assembly import Assembly
from localai_flask.gallery.models.records import Record
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.gallery.references import parse_reference
from localai_flask.gallery.remote import shown
from localai_flask.gallery.sources import Access, look_up
from localai_flask.gallery.sources.offer import Offer, RemoteFile
from localai_flask.settings import Settings

NOTHING = "Name a model by `id`, by `url`, or give its configuration as `config_file`."
DOCUMENTS = (".yaml", ".yml")
ADDRESS_KEYS = (("parameters", "model"), ("mmproj",), ("draft_model",))
"""Keys whose value may be an address, of which the file is fetched and named there."""


class Plan(NamedTuple):
    """What installing a model comes to; paths are relative to the models folder."""

    name: str
    yaml: str
    files: tuple[RemoteFile, ...]
    assemblies: tuple[Assembly, ...]
    """What is made of files once they are there."""
    templates: tuple[PromptTemplate, ...]
    record: Record


class _Draft(NamedTuple):
    """What is known of a model before its files are looked up."""

    name: str
    content: dict[str, Any]
    files: tuple[EntryFile, ...] = ()
    templates: tuple[PromptTemplate, ...] = ()
    about: GalleryEntry = GalleryEntry()


def make_plan(request: InstallRequest, galleries: Galleries, settings: Settings, engines: frozenset[str]) -> Plan:
    """Find out what a request comes to; `engines` are those that are here, none if that does not matter.

    Raises an `ApiError` with one sentence if it cannot be had, or must not be written.
    """
    access = _access(request, settings)
    draft = _with_request(_draft(request, galleries, access), request)
    if engines and not request.force:
        _check_engine(str(draft.content.get("backend") or ""), engines)
    if known := request.name or draft.name:
        check_free(names.check_model_name(known), settings, request.force)
    assemblies = tuple(_assembly(file) for file in draft.files if file.parts or file.unpack)
    offers = [_look_up(file, access) for file in _pieces(draft.files, settings.models_path)]
    content, more = _with_files(draft.content, access)
    name = names.check_model_name(request.name or draft.name or next((offer.name for offer in more), ""))
    check_free(name, settings, request.force)
    content = {"name": name, **{key: value for key, value in content.items() if key != "name"}}
    files = tuple({file.path: file for offer in (*offers, *more) for file in offer.files}.values())
    for file in files:
        names.check_place(settings.models_path, names.check_file_name(file.path))
    text = records.dump_yaml(content)
    config = catalog.check_text(text, settings.models_path / f"{name}.yaml")
    fit = check_fit(files, config, access)
    note = "; ".join([*(offer.note for offer in more if offer.note), *([f"it {fit}"] if fit else [])])
    return Plan(name, text, files, assemblies, draft.templates, _record(name, request, draft, files, note))


def _access(request: InstallRequest, settings: Settings) -> Access:
    """Return what may be reached for a request; that a gallery trusts a pickle is no reason for us to do so."""
    trusts = any(wish.get("trust_pickles") is True for wish in (request.config_file, request.overrides))
    make = Access.of_operator if request.by_operator else Access.of_client
    return make(settings, pickles=trusts, force=request.force)


def check_request(request: InstallRequest, galleries: Galleries, settings: Settings) -> None:
    """Raise an `ApiError` for what can be seen to be wrong without asking anybody but the galleries."""
    name = request.name
    if request.id and (_draft_of_reference(request.id) is None or galleries.find_or_none(request.id) is not None):
        entry = galleries.find(request.id)
        name = name or _chosen(entry, request.variant, galleries).name
    elif request.url and not _is_document(request.url):
        parse_reference(request.url)
    elif not (request.id or request.url or request.config_file or request.overrides or request.files):
        raise InvalidRequest(NOTHING, param="id")
    _with_request(_Draft("", {}), request)
    if name or not (request.id or request.url):
        check_free(names.check_model_name(name or str(request.config_file.get("name") or "")), settings, request.force)


def _draft(request: InstallRequest, galleries: Galleries, access: Access) -> _Draft:
    """Find what the request names; raise `InvalidRequest` if it names nothing."""
    if request.id:
        entry = galleries.find_or_none(request.id)
        if entry is not None:
            return _draft_of_entry(_chosen(entry, request.variant, galleries), galleries, access)
        return _draft_of_reference(request.id) or _draft_of_entry(galleries.find(request.id), galleries, access)
    if request.variant:
        raise InvalidRequest(
            "`variant` chooses among the builds of a gallery's model; name that by `id`.", param="variant"
        )
    if request.url:
        if _is_document(request.url):
            base = galleries.base(request.url, access)
            return _Draft(base.name, base.config_file, base.files, base.prompt_templates)
        return _Draft("", {"parameters": {"model": _as_address(request.url)}})
    if request.config_file or request.overrides or request.files:
        return _Draft("", {})
    raise InvalidRequest(NOTHING, param="id")


def _is_document(url: str) -> bool:
    path = urlsplit(url).path.partition("@")[0].lower()
    return path.endswith(DOCUMENTS)


def _draft_of_reference(text: str) -> _Draft | None:
    """Read what no gallery knows as a reference of another kind; None if it is none."""
    if "/" not in text and not is_address(text):
        return None
    try:
        return _Draft("", {"parameters": {"model": _as_address(text)}})
    except NoReference:
        return None


def _as_address(text: str) -> str:
    """Return what names a model elsewhere with its scheme, as `owner/repo` comes without; raise `NoReference`."""
    scheme = parse_reference(text).scheme
    return text if is_address(text) else f"{scheme}://{text}"


def _chosen(entry: GalleryEntry, variant: str, galleries: Galleries) -> GalleryEntry:
    """Return the build of an entry that is asked for; the entry's own if none is."""
    if not variant or variant == entry.name:
        return entry
    builds = [each.model for each in entry.variants]
    if variant not in builds:
        known = f"its builds are {', '.join([entry.name, *builds])}" if builds else "it has no other builds"
        raise InvalidRequest(f"{entry.id} has no variant {variant[:100]!r}; {known}.", param="variant")
    return galleries.find(f"{entry.gallery}@{variant}")


def _draft_of_entry(entry: GalleryEntry, galleries: Galleries, access: Access) -> _Draft:
    content: dict[str, Any] = {}
    files, templates = entry.files, entry.prompt_templates
    if entry.url:
        base = galleries.base(entry.url, access)
        content, files, templates = base.config_file, (*base.files, *files), (*base.prompt_templates, *templates)
    content = merge(merge(content, entry.config_file), entry.overrides)
    return _Draft(entry.name, content, files, templates, entry)


def _with_request(draft: _Draft, request: InstallRequest) -> _Draft:
    """Lay what the request wants different over what it names."""
    try:
        for file in request.files:
            check_file(file)
    except ValueError as error:
        raise InvalidRequest(f"`files`: {error}.", param="files") from None
    content = merge(merge(draft.content, request.config_file), request.overrides)
    name = draft.name or str(content.get("name") or "")
    return draft._replace(name=name, content=content, files=(*draft.files, *request.files))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one configuration over another: mappings are merged, anything else is replaced."""
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        merged[key] = merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


def _assembly(file: EntryFile) -> Assembly:
    names.check_file_name(file.filename)
    pieces = [f"{file.filename}.piece{number:03d}" for number, _ in enumerate(file.parts or (file.uri,))]
    return Assembly(file.filename, tuple(pieces), file.sha256, file.unpack)


def _pieces(files: tuple[EntryFile, ...], models_path: Path) -> Iterator[EntryFile]:
    """Yield the files to fetch: of what is made of pieces these, unless it is there."""
    for file in files:
        if not (file.parts or file.unpack):
            yield file
        elif not (models_path / file.filename).exists():
            sha256 = file.sha256 if file.unpack else ""
            for uri, path in zip(file.parts or (file.uri,), _assembly(file).pieces, strict=True):
                yield EntryFile(uri, path, sha256)


def _look_up(file: EntryFile, access: Access) -> Offer:
    """Find where a listed file lies; it gets the name and has to have the sum that the list gives it."""
    offer = look_up(parse_reference(file.uri), access)
    if len(offer.files) != 1:
        return offer
    [remote] = offer.files
    remote = msgspec.structs.replace(
        remote, path=file.filename or remote.path, sha256=file.sha256.lower() or remote.sha256
    )
    return msgspec.structs.replace(offer, files=(remote,))


def _with_files(content: dict[str, Any], access: Access) -> tuple[dict[str, Any], list[Offer]]:
    """Look up the addresses that stand in a configuration, and put the names of their files in their place."""
    offers: list[Offer] = []
    for path in ADDRESS_KEYS:
        address = _at(content, path)
        if not isinstance(address, str) or not is_address(address):
            continue
        offer = look_up(parse_reference(address), access)
        offers.append(offer)
        content = merge(content, _nested(path, offer.model))
        if path == ("parameters", "model"):
            given = {"mmproj": offer.mmproj} if offer.mmproj and not content.get("mmproj") else {}
            content = merge(merge(dict(offer.overrides), given), content)
    for listed in content.get("download_files") or ():
        if isinstance(listed, dict) and is_address(str(listed.get("uri") or "")):
            offers.append(_look_up(msgspec.convert(listed, EntryFile), access))
    return content, offers


def _at(content: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = content
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _nested(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    for key in reversed(path):
        value = {key: value}
    found: dict[str, Any] = value
    return found


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


def _check_engine(backend: str, engines: frozenset[str]) -> None:
    meant, _ = catalog.BACKEND_ALIASES.get(backend, (backend, ""))
    if meant and meant not in engines:
        raise ConfigError(
            f"The model needs the engine {backend!r}, which is not here; the engines are {', '.join(sorted(engines))}. "
            "`force: true` installs it all the same.",
            param="backend",
        )


def _record(name: str, request: InstallRequest, draft: _Draft, files: tuple[RemoteFile, ...], note: str) -> Record:
    """Remember what came with a model; of what is made of pieces the whole alone."""
    about = draft.about
    made = [file for file in draft.files if file.parts or file.unpack]
    pieces = {path for file in made for path in _assembly(file).pieces}
    fetched = (EntryFile(shown(file.url), file.path, file.sha256 or "") for file in files if file.path not in pieces)
    return Record(
        name=name,
        gallery=about.gallery,
        entry=about.id if about.name else request.wanted,
        description=about.description,
        license=about.license,
        urls=about.urls,
        files=(*fetched, *(EntryFile(filename=file.filename) for file in made)),
        templates=tuple(f"{template.name}.tmpl" for template in draft.templates),
        note=note,
        likeness=request.likeness,
        installed_at=time.time(),
    )
