"""The SHA-256 of models' files: known from where a file came from, else computed once and kept.

Computing takes seconds for each gigabyte, so that it happens in a thread of its own, once on this machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import msgspec

from localai_flask.atomic_file import replace_file
from localai_flask.gallery.models import records
from localai_flask.user_folders import cache_folder

log = logging.getLogger("gunicorn.error")

PATIENCE_S = 2.0
"""How long whoever asks waits for sums that are being computed."""
PIECE = 1 << 20
MOST_KEPT = 10_000
_NAMED = re.compile(r"(?:sha256[-:])?([0-9a-f]{64})")
"""The name of a file that others link to, in the caches of Ollama and Hugging Face."""


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """A file's sum, and what it was like when that was computed."""

    mtime_ns: int
    size: int
    sha256: str


class Digests:
    """The sums of the files of one models folder, for one process."""

    def __init__(self, models_path: Path, cache: Path | None = None):
        self._models_path = models_path.absolute()
        self._cache = cache or cache_folder() / "digests.json"
        self._asked: SimpleQueue[Path] = SimpleQueue()
        self._pending: set[Path] = set()
        self._changed = threading.Condition()
        self._is_running = False

    def find(self, files: Sequence[Path], patience_s: float = PATIENCE_S) -> dict[Path, str]:
        """Return the sums that are known, after a while for those that are not; of them all, some time later."""
        deadline = time.monotonic() + patience_s
        kept, sums = self._read(), self._recorded()
        missing = [file for file in files if not self._known(file, kept, sums)]
        self._compute(missing)
        with self._changed:
            self._changed.wait_for(lambda: not self._pending.intersection(missing), deadline - time.monotonic())
        kept = self._read() if missing else kept
        return {file: found for file in files if (found := self._known(file, kept, sums))}

    def _known(self, file: Path, kept: dict[str, Kept], sums: dict[Path, tuple[str, float]]) -> str:
        try:
            target = file.resolve()
            stat = target.stat()
        except OSError:
            return ""
        if target != file.absolute() and (named := _NAMED.fullmatch(target.name)):
            return named[1]
        if file in sums and stat.st_mtime <= sums[file][1]:
            return sums[file][0]
        found = kept.get(str(target))
        return found.sha256 if found and (found.mtime_ns, found.size) == (stat.st_mtime_ns, stat.st_size) else ""

    def _recorded(self) -> dict[Path, tuple[str, float]]:
        """Return what downloads were checked against, and until when files are sure to be as they came."""
        found = {}
        for record in records.read_all(self._models_path):
            for each in record.files:
                if each.sha256 and each.filename:
                    found[self._models_path / each.filename] = each.sha256.lower(), record.installed_at
        return found

    def _read(self) -> dict[str, Kept]:
        try:
            return msgspec.json.decode(self._cache.read_bytes(), type=dict[str, Kept])
        except (OSError, msgspec.DecodeError):
            return {}

    def _compute(self, files: Sequence[Path]) -> None:
        with self._changed:
            for file in files:
                if file not in self._pending:
                    self._pending.add(file)
                    self._asked.put(file)
            if self._pending and not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="digests", daemon=True).start()

    def _run(self) -> None:
        while True:
            file = self._asked.get()
            try:
                self._keep(file)
            except OSError as error:
                log.warning("the sha256 of %s cannot be computed or kept: %s", file, error)
            except Exception:  # the thread's boundary: without it nobody would compute the others
                log.exception("computing the sha256 of %s failed", file)
            finally:
                with self._changed:
                    self._pending.discard(file)
                    self._changed.notify_all()

    def _keep(self, file: Path) -> None:
        """Compute a file's sum, one process at a time, unless another has done so meanwhile."""
        self._cache.parent.mkdir(parents=True, exist_ok=True)
        with open(self._cache.with_suffix(".lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = self._read()
            if self._known(file, kept, {}):
                return
            target = file.resolve()
            stat = target.stat()
            found = Kept(stat.st_mtime_ns, stat.st_size, _sum_of(target))
            newest = dict([*kept.items(), (str(target), found)][-MOST_KEPT:])
            replace_file(self._cache, msgspec.json.encode(newest))


def _sum_of(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()
