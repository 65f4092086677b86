"""Files that are replaced at once: whoever reads sees the one before or the new one, also after a loss of power."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_text(file: Path, text: str, *, mode: int = 0o600) -> None:
    """Put a text in a file's place, as `replace_file` does."""
    replace_file(file, text.encode(), mode=mode)


def replace_file(file: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Put content in a file's place, with the owner and mode of what was there; a new file gets `mode`.

    A link stays, and what it leads to is replaced.
    """
    file = file.resolve()
    file.parent.mkdir(parents=True, exist_ok=True)
    opened, made = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(opened, "wb") as writing:
            if not file.exists():
                os.fchmod(writing.fileno(), mode)
            else:
                before = file.stat()
                os.fchmod(writing.fileno(), before.st_mode & 0o777)
                if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(writing.fileno(), before.st_uid, before.st_gid)
            writing.write(content)
            writing.flush()
            os.fsync(writing.fileno())
        os.replace(made, file)
    except BaseException:
        os.unlink(made)
        raise


@contextmanager
def editing(folder: Path) -> Iterator[None]:
    """Keep others from editing files of a folder meanwhile: by the folder, as the files themselves are replaced."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
