"""The files that a model's YAML says where to get: fetched when the model is first needed, one after the other."""

from __future__ import annotations

from pathlib import Path

import msgspec

from localai_flask.config import references
from localai_flask.config.model import DownloadFile, EngineConfig
from localai_flask.config.model_yaml.downloads import check_files, missing_files
from localai_flask.errors import ConfigError
from localai_flask.gallery.progress import Report
from localai_flask.settings import Settings


def fetch_missing(config: EngineConfig, report: Report) -> bool:
    """Fetch what is missing of a model's files; return whether anything was.

    Raises `DownloadFailed` where a later try may help, `ConfigError` where the YAML has to change.
    """
    check_files(config)
    missing = missing_files(config)
    if not missing:
        return False
    from localai_flask.gallery.download import fetch_files
    from localai_flask.gallery.sources import Access, RemoteFile, look_up

    folder = Path(config.models_path)
    access = Access.of_operator(Settings.from_environment())

    def locate(entry: DownloadFile) -> RemoteFile:
        offer = look_up(references.parse(entry.uri), access)
        if len(offer.files) != 1:
            raise ConfigError(f"Model {config.name}: {entry.uri} is not one file; name one.", param="download_files")
        found = msgspec.structs.replace(offer.files[0], path=entry.filename)
        return msgspec.structs.replace(found, sha256=entry.sha256) if entry.sha256 else found

    fetch_files([locate(entry) for entry in missing], folder, report=report, stopped=lambda: False)
    return True
