"""The files that a model's YAML says where to get: fetched when the model is first needed, one after the other."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from localai_flask.config import references
from localai_flask.config.blocks import DownloadFile
from localai_flask.config.files.settling import all_parts
from localai_flask.config.model import EngineConfig
from localai_flask.config.model_yaml.downloads import check_files, missing_files
from localai_flask.errors import ConfigError
from localai_flask.gallery.progress import Report
from localai_flask.settings import Settings

if TYPE_CHECKING:
    from localai_flask.gallery.sources import Access, Offer, RemoteFile

log = logging.getLogger(__name__)


def fetch_missing(config: EngineConfig, report: Report) -> bool:
    """Fetch what is missing of a model's files; return whether anything was.

    Raises `DownloadFailed` where a later try may help, `ConfigError` where the YAML has to change, and `NoRoom` if the
    model could never run here.
    """
    check_files(config)
    missing = missing_files(config)
    if not missing:
        return False
    from localai_flask.gallery.download import fetch_files
    from localai_flask.gallery.fit import check_fit
    from localai_flask.gallery.models import records
    from localai_flask.gallery.sources import Access

    settings = Settings.from_environment()
    is_installed = records.read(Path(config.models_path), config.name) is not None
    # The YAML of a gallery is a stranger's, also when it lies in the models folder.
    make = Access.of_client if is_installed else Access.of_operator
    access = make(settings, pickles=config.trust_pickles)
    access = dataclasses.replace(access, models_path=Path(config.models_path))
    files = [file for entry in missing for file in _locate(config, entry, access)]
    fit = check_fit(files, config, access)
    if fit is not None:
        log.info("model %s %s", config.name, fit)
    fetch_files(files, access.models_path, report=report, stopped=lambda: False)
    return True


def _locate(config: EngineConfig, entry: DownloadFile, access: Access) -> list[RemoteFile]:
    """Find where the files of an entry lie, and give them their places."""
    from localai_flask.gallery.sources import look_up, refuse_pickle

    refuse_pickle(entry.filename, access)
    offer = look_up(references.parse(entry.uri), access)
    if offer.note:
        log.info("model %s: %s: %s", config.name, entry.filename, offer.note)
    files = [file for file in offer.files if file.path != offer.mmproj]
    placed = _place(files, offer, entry)
    if placed is None:
        what = "a folder" if offer.is_folder else f"one in {len(files)} parts, the first being {offer.model}"
        raise ConfigError(
            f"Model {config.name}: {entry.uri} is not one file but {what}, which cannot be called {entry.filename}; "
            "name a file of it, or list it in `download_files` with another `filename`.",
            param="download_files",
        )
    if entry.sha256 and len(placed) == 1:
        placed[0] = msgspec.structs.replace(placed[0], sha256=entry.sha256)
    return placed


def _place(files: list[RemoteFile], offer: Offer, entry: DownloadFile) -> list[RemoteFile] | None:
    """Place files where the entry's name says; None if it can only mean something else."""
    if offer.is_folder:
        if entry.filename.lower().endswith(".gguf"):
            return None
        names = [f"{entry.filename}{file.path.removeprefix(offer.model)}" for file in files]
    elif len(files) == 1:
        names = [entry.filename]
    else:
        names = [str(path) for path in all_parts(Path(entry.filename))]
    if len(names) != len(files):
        return None
    return [msgspec.structs.replace(file, path=name) for file, name in zip(files, names, strict=True)]
