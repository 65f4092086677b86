"""Receives the bytes of one file: goes on where a former try stopped, and tries again when the connection breaks.

Owns the part file while it runs; knows neither where the file goes then nor what is in it.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Callable
from typing import BinaryIO

import requests
import urllib3

from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.progress import Meter, Report
from localai_flask.gallery.transport.part_file import PartFile
from localai_flask.gallery.transport.remote import PASSING, Remote, read_retry_after, reason_of, shown

CHUNK = 1 << 18
TRIES = 5
"""Tries in a row that bring nothing, after which a download is given up."""
FIRST_PAUSE_S = 1.0
"""How long to wait when a connection broke; twice as long after each try that brought nothing."""
LONGEST_PAUSE_S = 60.0
"""As much of what a server asks for by `Retry-After` is waited."""
LOOK_S = 0.2
"""How often it is looked, while nothing happens, whether the file is still wanted."""
PARTIAL, BAD_REQUEST, NO_SUCH_RANGE = 206, 400, 416
UNAUTHORIZED, FORBIDDEN = 401, 403
HOPELESS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)
"""What no further try would mend."""


class Transfer:
    """One file on its way; the part file holds what was received before."""

    def __init__(self, remote: Remote, part: PartFile, report: Report, check_room: Callable[[int], None]):
        """`check_room` raises if a number of further bytes has no room; it is asked as soon as the size is known."""
        self._remote = remote
        self._part = part
        self._meter = Meter(report)
        self._check_room = check_room
        self._validator = ""
        self._pause_s = 0.0
        self.total = remote.size
        self.done = 0

    def run(self) -> None:
        """Receive the whole file; raise `DownloadFailed` if that cannot be done now, `ConfigError` if never."""
        self._validator = self._part.read_validator(self._remote)
        # Without a sum and a validator nobody could see that the part is of another version of the file.
        has_sum = bool(self._remote.sha256 or self._remote.git_sha1)
        kept = self._part.size if has_sum or self._validator else 0
        for size in (kept, 0) if kept else (0,):
            self._go_back_to(size)
            self._receive_all()
            if self._has_its_sum():
                self._meter.count(self.done, self.total, always=True)
                return
        self._go_back_to(0)
        raise ConfigError(
            f"What {shown(self._remote.url)} sends has not the checksum that it should have "
            f"({self._remote.sha256 or self._remote.git_sha1}); it was thrown away. Try again, or use another source."
        )

    def _go_back_to(self, size: int) -> None:
        self._part.file.truncate(size)
        self._part.file.seek(size)
        self.done = size
        self._meter.begin(size)

    def _receive_all(self) -> None:
        fruitless = 0
        while not self._is_complete:
            before, self._pause_s = self.done, 0.0
            try:
                self._receive()
            except HOPELESS as error:
                raise ConfigError(
                    f"Cannot fetch {self._remote.name} from {shown(self._remote.url)}: {error}."
                ) from error
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
            self._wait(max(FIRST_PAUSE_S * 2**fruitless, min(self._pause_s, LONGEST_PAUSE_S)))

    def _wait(self, pause_s: float) -> None:
        end = time.monotonic() + pause_s
        while (left := end - time.monotonic()) > 0:
            self._meter.count(self.done, self.total)  # who reads it may have the download stopped
            time.sleep(min(left, LOOK_S))

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
                self._check_room_of_unknown(len(chunk))
                self._write(chunk)
                self._meter.count(self.done, self.total)
            if self.total is None:
                self.total = self.done

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in PASSING:
            self._pause_s = read_retry_after(response.headers.get("Retry-After", ""))
            response.raise_for_status()
        if status >= BAD_REQUEST:
            advice = "; it wants a token, or one that may read this" if status in (UNAUTHORIZED, FORBIDDEN) else ""
            said = f"{shown(self._remote.url)} answers {status} {response.reason}{advice}"
            raise ConfigError(f"Cannot fetch {self._remote.name}: {said}.")

    def _continues(self, response: requests.Response) -> bool:
        return response.headers.get("Content-Range", "").startswith(f"bytes {self.done}-")

    def _learn(self, response: requests.Response) -> None:
        """Take the size and the version from the headers; raise `ConfigError` if the size is not what the source says.

        A weak ETag must not be used with a range.
        """
        tag = response.headers.get("ETag", "")
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        if not self.done or validator != self._validator:
            self._part.write_validator(self._remote, validator)
        self._validator = validator
        total = _total(response)
        if total is not None and self._remote.size is not None and total != self._remote.size:
            self._refuse_size(total)
        self.total = total if total is not None else self._remote.size
        if self.total is not None:
            self._check_room(self.total - self.done)
        elif not (self._remote.sha256 or response.raw.chunked):
            raise ConfigError(
                f"{shown(self._remote.url)} does not say how large {self._remote.name} is, so that nobody could see "
                "whether all of it has come; add #sha256=… to its address."
            )

    def _check_room_of_unknown(self, needed: int) -> None:
        """Raise `ConfigError` if a file whose size nobody has said fills the disk, which it must not do again."""
        if self.total is not None:
            return
        try:
            self._check_room(needed)
        except DownloadFailed as error:
            self._go_back_to(0)
            raise ConfigError(
                f"{shown(self._remote.url)} does not say how large {self._remote.name} is, and sends more than there "
                "is room for; it was thrown away. Free some, or use another source."
            ) from error

    def _write(self, chunk: bytes) -> None:
        if self.total is not None and self.done + len(chunk) > self.total:
            self._refuse_size(self.done + len(chunk))
        try:
            self._part.file.write(chunk)
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
            "away. Try again, or use another source."
        )

    def _has_its_sum(self) -> bool:
        file, remote = self._part.file, self._remote
        file.flush()
        file.seek(0)
        try:
            if remote.sha256:
                return hashlib.file_digest(file, "sha256").hexdigest() == remote.sha256
            if remote.git_sha1:
                return git_sha1(file) == remote.git_sha1
            return True
        finally:
            file.seek(0, os.SEEK_END)


def git_sha1(file: BinaryIO) -> str:
    """Return the name that git gives the content of a file, which is read from its beginning."""
    digest = hashlib.sha1(b"blob %d\0" % os.fstat(file.fileno()).st_size, usedforsecurity=False)
    file.seek(0)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _total(response: requests.Response) -> int | None:
    """Return the size of the whole file as the headers have it."""
    if response.status_code in (PARTIAL, NO_SUCH_RANGE):
        found = re.search(r"/([0-9]+)$", response.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None
