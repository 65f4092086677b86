"""How the pool's processes and the background process hear of settings that have changed: by a file of the runtime
directory, which the arbiter replaces and each of them looks at in its loop.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

from localai_flask.settings import Settings

log = logging.getLogger(__name__)


def announce(file: Path, settings: Settings) -> None:
    """Write the settings for all to read."""
    fresh = file.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
        json.dump(settings.to_environment(), opened)
    os.replace(fresh, file)


class AnnouncedSettings:
    """What one process knows of them."""

    def __init__(self, file: Path, settings: Settings):
        self.now = settings
        self._file = file
        self._seen: tuple[int, int] | None = None

    def look(self) -> Settings | None:
        """Return the settings if they have changed since the last look, with this process's log level set to theirs."""
        try:
            found = os.stat(self._file)
            state = found.st_mtime_ns, found.st_ino
            if state == self._seen:
                return None
            settings = Settings.from_environment(json.loads(self._file.read_bytes()))
        except FileNotFoundError:  # there was no reload yet
            return None
        self._seen = state
        if settings == self.now:
            return None
        self.now = settings
        logging.getLogger().setLevel(settings.log_level.upper())
        os.environ.update(settings.to_environment())
        return settings
