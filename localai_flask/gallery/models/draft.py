"""From what is asked for to a configuration and its files, as a gallery, an address or the request itself has them.

Asks galleries and fetches their documents; does not know yet where any file lies.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from localai_flask.config.files.listing import is_yaml
from localai_flask.config.model_yaml.variants import laid_over
from localai_flask.config.references import is_address
from localai_flask.errors import InvalidRequest
from localai_flask.gallery.errors import NoReference
from localai_flask.gallery.index.entries import EntryFile, GalleryEntry, PromptTemplate, check_file
from localai_flask.gallery.index.galleries import Galleries
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.gallery.references import parse_reference
from localai_flask.gallery.sources import Access

NOTHING = "Name a model by `id`, by `url`, or give its configuration as `config_file`."


class Draft(NamedTuple):
    """What is known of a model before its files are looked up; "" and empty where nobody has said it."""

    name: str
    content: dict[str, Any]
    files: tuple[EntryFile, ...] = ()
    templates: tuple[PromptTemplate, ...] = ()
    about: GalleryEntry = GalleryEntry()
    """The gallery's entry that was asked for."""
    variant: str = ""
    """The entry that is installed in its place, if it is another."""


def make_draft(request: InstallRequest, galleries: Galleries, access: Access) -> Draft:
    """Find what a request names, and lay over it what it wants different; raise an `ApiError` if it names nothing."""
    draft = _named(request, galleries, access)
    content = laid_over(laid_over(draft.content, request.config_file), request.overrides)
    name = draft.name or str(content.get("name") or "")
    return draft._replace(name=name, content=content, files=(*draft.files, *request.files))


def find_name(request: InstallRequest, galleries: Galleries) -> str:
    """Return what the model will be called, "" if that is not known before its source is asked.

    Raises an `ApiError` for what can be seen to be wrong without asking anybody but the galleries.
    """
    _check_files(request)
    if request.id and (_of_reference(request.id) is None or galleries.find_or_none(request.id) is not None):
        entry = galleries.find(request.id)
        _check_variant(entry, request.variant)
        return request.name or entry.name
    if request.url and not _is_document(request.url):
        parse_reference(request.url)
    if not (request.id or request.url or request.config_file or request.overrides or request.files):
        raise InvalidRequest(NOTHING, param="id")
    named = request.config_file.get("name") or request.overrides.get("name") or ""
    return request.name or str(named)


def other_builds(request: InstallRequest, galleries: Galleries) -> list[str]:
    """Return the variants of a gallery's model that may be taken in its place, as the request leaves the choice."""
    entry = galleries.find_or_none(request.id) if request.id and not request.variant else None
    return [variant.model for variant in entry.variants] if entry is not None else []


def _named(request: InstallRequest, galleries: Galleries, access: Access) -> Draft:
    _check_files(request)
    if request.id:
        entry = galleries.find_or_none(request.id)
        draft = _of_reference(request.id) if entry is None else None
        return draft or _of_entry(entry or galleries.find(request.id), request.variant, galleries, access)
    if request.variant:
        said = "`variant` chooses among the builds of a gallery's model; name that by `id`."
        raise InvalidRequest(said, param="variant")
    if request.url and _is_document(request.url):
        base = galleries.base(request.url, access)
        return Draft(base.name, base.config_file, base.files, base.prompt_templates)
    if request.url:
        return Draft("", {"parameters": {"model": _as_address(request.url)}})
    if request.config_file or request.overrides or request.files:
        return Draft("", {})
    raise InvalidRequest(NOTHING, param="id")


def _is_document(url: str) -> bool:
    return is_yaml(PurePosixPath(urlsplit(url).path.partition("@")[0]))


def _of_reference(text: str) -> Draft | None:
    """Read what no gallery knows as a reference of another kind; None if it is none.

    Raises `NoReference` for a text with a scheme, as no gallery's model has one.
    """
    if "/" not in text and not is_address(text):
        return None
    try:
        return Draft("", {"parameters": {"model": _as_address(text)}})
    except NoReference:
        if "://" in text:
            raise
        return None


def _as_address(text: str) -> str:
    """Return what names a model elsewhere with its scheme, as `owner/repo` comes without; raise `NoReference`."""
    scheme = parse_reference(text).scheme
    return text if is_address(text) else f"{scheme}://{text}"


def _of_entry(entry: GalleryEntry, variant: str, galleries: Galleries, access: Access) -> Draft:
    """Read an entry, or the build of it that is asked for, which then stands under the entry's name as in LocalAI."""
    _check_variant(entry, variant)
    built = galleries.find(f"{entry.gallery}@{variant}") if variant and variant != entry.name else entry
    content: dict[str, Any] = {}
    files, templates = built.files, built.prompt_templates
    if built.url:
        base = galleries.base(built.url, access)
        content, files, templates = base.config_file, (*base.files, *files), (*base.prompt_templates, *templates)
    content = laid_over(laid_over(content, built.config_file), built.overrides)
    return Draft(entry.name, content, files, templates, entry, built.name if built is not entry else "")


def _check_variant(entry: GalleryEntry, variant: str) -> None:
    builds = [entry.name, *(each.model for each in entry.variants)]
    if variant and variant not in builds:
        known = f"its builds are {', '.join(builds)}" if entry.variants else "it has no other builds"
        raise InvalidRequest(f"{entry.id} has no variant {variant[:100]!r}; {known}.", param="variant")


def _check_files(request: InstallRequest) -> None:
    try:
        for file in request.files:
            check_file(file)
    except ValueError as error:
        raise InvalidRequest(f"`files`: {error}.", param="files") from None
