"""Takes one file out of a zip archive that nobody vouches for, such as a wheel."""

from __future__ import annotations

import hashlib
import lzma
import stat
import zipfile
import zlib
from io import BufferedRandom
from pathlib import Path

from localai_flask.errors import ConfigError

CHUNK = 1 << 20
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)
"""What reading a damaged archive raises, by its kinds of compression."""
ENCRYPTED = 0x1
"""The bit among an entry's flags."""
SHOWN = 5


def find_member(archive: BufferedRandom, path: str, name: str) -> zipfile.ZipInfo:
    """Find the entry of this path; raise `ConfigError` if there is none, or none that is a plain file."""
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = {entry.filename: entry for entry in opened.infolist()}
    except zipfile.BadZipFile as error:
        raise ConfigError(f"{name} is not a zip archive ({error}), so {path} cannot be taken out of it.") from error
    entry = entries.get(path)
    if entry is None:
        largest = sorted(entries.values(), key=lambda each: -each.file_size)[:SHOWN]
        known = ", ".join(each.filename for each in largest)
        raise ConfigError(f"{name} holds no {path}; the largest of its files are: {known}.")
    if not is_plain_file(entry):
        raise ConfigError(f"{path} in {name} is no plain file.")
    return entry


def is_plain_file(entry: zipfile.ZipInfo) -> bool:
    """Return whether an entry is a file that anybody can read: no folder, link or device, and not encrypted."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return not entry.is_dir() and kind in (0, stat.S_IFREG) and not entry.flag_bits & ENCRYPTED


def unpack(archive: BufferedRandom, entry: zipfile.ZipInfo, target: Path, name: str) -> str:
    """Write the entry to `target` and return its sha256; raise `ConfigError` if the archive is damaged."""
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(entry) as source, open(target, "wb") as file:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except DAMAGED as error:
        raise ConfigError(f"{name} is damaged ({error}), so {entry.filename} cannot be taken out of it.") from error
    return digest.hexdigest()
