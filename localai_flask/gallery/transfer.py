"""Receives the bytes of one file: goes on where a former try stopped, and tries again when the connection breaks.

Owns the part file while it runs; knows neither where the file goes then nor what is in it.
"""

from __future__ import annotations

import errno
import hashlib
import re
import time
from io import BufferedRandom

import requests
import urllib3

from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.progress import Meter, Report
from localai_flask.gallery.remote import Remote, reason_of, shown

CHUNK = 1 << 18
TRIES = 5
"""Tries in a row that bring nothing, after which a download is given up."""
FIRST_PAUSE_S = 1.0
"""How long to wait when a connection broke; twice as long after each try that brought nothing."""
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that another try may well not meet."""
PARTIAL, BAD_REQUEST, NO_SUCH_RANGE = 206, 400, 416


class Transfer:
    """One file on its way; `part` is open for reading and writing and holds what was received before."""

    def __init__(self, remote: Remote, part: BufferedRandom, report: Report):
        self._remote = remote
        self._part = part
        self._meter = Meter(report)
        self._validator = ""
        self.total = remote.size
        self.done = 0

    def run(self) -> None:
        """Receive the whole file; raise `DownloadFailed` if that cannot be done now, `ConfigError` if never."""
        # Without a sum nobody could see that the part is of another version of the file.
        kept = self._part.seek(0, 2) if self._remote.sha256 else 0
        for size in (kept, 0) if kept else (0,):
            self._go_back_to(size)
            self._receive_all()
            if self._has_its_sum():
                self._meter.count(self.done, self.total, always=True)
                return
        self._go_back_to(0)
        raise ConfigError(
            f"What {shown(self._remote.url)} sends has not the sha256 that its index says ({self._remote.sha256}); "
            "it was thrown away. Try again, or use another index."
        )

    def _go_back_to(self, size: int) -> None:
        self._part.truncate(size)
        self._part.seek(size)
        self.done = size
        self._meter.begin(size)

    def _receive_all(self) -> None:
        fruitless = 0
        while not self._is_complete:
            before = self.done
            try:
                self._receive()
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reason = reason_of(error)
            else:
                reason = "the connection ended early"
            if self._is_complete:
                return
            fruitless = fruitless + 1 if self.done <= before else 0
            if fruitless == TRIES:
                raise DownloadFailed(
                    f"Cannot fetch {self._remote.name} from {shown(self._remote.url)}: {reason}. "
                    "What was received is kept, and the next try goes on from there."
                )
            time.sleep(FIRST_PAUSE_S * 2**fruitless)

    @property
    def _is_complete(self) -> bool:
        return self.total is not None and self.done == self.total

    def _receive(self) -> None:
        """Make one request and take what it brings."""
        with self._remote.open(self.done, self._validator) as response:
            if response.status_code == NO_SUCH_RANGE and self.done:
                self.total = _total(response)
                if not self._is_complete:
                    self._go_back_to(0)
                return
            self._check_status(response)
            if response.status_code != PARTIAL or not self._continues(response):
                self._go_back_to(0)
            self._learn(response)
            # `iter_content` would lose what has come of a chunk when the connection breaks.
            while chunk := response.raw.read1(CHUNK):
                self._write(chunk)
                self._meter.count(self.done, self.total)
            if self.total is None:
                self.total = self.done

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in PASSING:
            response.raise_for_status()
        if status >= BAD_REQUEST:
            raise ConfigError(
                f"Cannot fetch {self._remote.name}: {shown(self._remote.url)} answers {status} {response.reason}."
            )

    def _continues(self, response: requests.Response) -> bool:
        return response.headers.get("Content-Range", "").startswith(f"bytes {self.done}-")

    def _learn(self, response: requests.Response) -> None:
        """Take the size and the version from the headers; raise `ConfigError` if the size is not what the source says.

        A weak ETag must not be used with a range.
        """
        tag = response.headers.get("ETag", "")
        self._validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        total = _total(response)
        if total is not None and self._remote.size is not None and total != self._remote.size:
            self._refuse_size(total)
        self.total = total if total is not None else self._remote.size

    def _write(self, chunk: bytes) -> None:
        if self.total is not None and self.done + len(chunk) > self.total:
            self._refuse_size(self.done + len(chunk))
        try:
            self._part.write(chunk)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DownloadFailed(f"The disk is full, so {self._remote.name} cannot be fetched; free some.") from error
        self.done += len(chunk)

    def _refuse_size(self, size: int) -> None:
        expected = self.total if self._remote.size is None else self._remote.size
        self._go_back_to(0)
        raise ConfigError(
            f"{shown(self._remote.url)} sends {size} bytes or more where {expected} were announced; it was thrown "
            "away. Try again, or use another index."
        )

    def _has_its_sum(self) -> bool:
        if not self._remote.sha256:
            return True
        self._part.flush()
        self._part.seek(0)
        found = hashlib.file_digest(self._part, "sha256").hexdigest()
        self._part.seek(0, 2)
        return found == self._remote.sha256


def _total(response: requests.Response) -> int | None:
    """Return the size of the whole file as the headers have it."""
    if response.status_code in (PARTIAL, NO_SUCH_RANGE):
        found = re.search(r"/([0-9]+)$", response.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None
