"""The keys of the settings and of their file, as they are at each request.

A file that cannot be used changes nothing: the keys before go on, in a process that starts only then as well.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from localai_flask.atomic_file import replace_text
from localai_flask.errors import ConfigError
from localai_flask.keys import file as key_file
from localai_flask.keys.key import Key
from localai_flask.keys.keyring import Keyring
from localai_flask.settings import Settings

log = logging.getLogger("gunicorn.error")

SETTLED_S = 0.2
"""How long a file that is written in place has to be as it is before it is read."""


def are_required(settings: Settings) -> bool:
    """Return whether clients need a key, be it that nobody has one yet."""
    return bool(settings.api_key or settings.keys_file)


class WatchedKeys:
    """The keys; any thread may ask."""

    def __init__(self, settings: Settings, spare: Path | None = None):
        """`spare` is where the last file that could be used is kept for processes that start later."""
        self.required = are_required(settings)
        self._fixed = Keyring.of_texts(settings.api_key)
        self._file = settings.keys_file
        self._spare = spare
        self._lock = threading.Lock()
        self._keys: Keyring | None = None
        self._seen: tuple[int, ...] | None = None

    def find(self, secret: str) -> Key | None:
        """Return the key that a text is now, if it is one."""
        return self._current().find(secret)

    def of_keeper(self, keeper: str) -> Key | None:
        """Return the key whose holder keeps what is stored under this name, if it still is one."""
        return self._current().of_keeper(keeper)

    def _current(self) -> Keyring:
        if self._file is None:
            return self._fixed
        state = _state(self._file)
        if self._keys is None:
            with self._lock:
                return self._keys if self._keys is not None else self._read(self._file, state)
        if state != self._seen and not self._is_being_written(state) and self._lock.acquire(blocking=False):
            try:
                return self._keys if state == self._seen else self._read(self._file, state)
            finally:
                self._lock.release()
        return self._keys

    def _is_being_written(self, state: tuple[int, ...] | None) -> bool:
        """Return whether the same file has just changed, so that what stands there now may be half of it.

        One that is put in the place of another, as the command and most editors do, is whole at once.
        """
        if state is None or self._seen is None or state[2:] != self._seen[2:]:
            return False
        return 0 <= time.time() - state[0] / 1e9 < SETTLED_S

    def _read(self, file: Path, state: tuple[int, ...] | None) -> Keyring:
        try:
            entries = key_file.read(file)
        except ConfigError as error:
            log.error("the keys stay as they were: %s", error)
            keys = self._keys if self._keys is not None else self._fixed | self._last_good()
        else:
            if self._keys is not None:
                log.info("read %d keys from %s", len(entries), file)
            keys = self._fixed | key_file.keyring(entries)
            self._keep(entries)
        self._keys, self._seen = keys, state
        return keys

    def _last_good(self) -> Keyring:
        try:
            return key_file.keyring(key_file.read(self._spare)) if self._spare else Keyring()
        except ConfigError:
            return Keyring()

    def _keep(self, entries: Mapping[str, key_file.Entry]) -> None:
        if self._spare is None:
            return
        try:
            replace_text(self._spare, key_file.render(entries))
        except OSError as error:
            log.warning("cannot keep a copy of the keys in %s: %s", self._spare, error.strerror)


def _state(file: Path) -> tuple[int, ...] | None:
    """Return what changes whenever the file does; None if there is none."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev
