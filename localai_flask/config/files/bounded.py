"""Small files as text and as JSON, however large, deep or strange they are in truth."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from localai_flask.errors import ConfigError

MOST_JSON_BYTES = 4 << 20
"""The longest tokenizer_config.json have somewhat more than 1 MB, with some ten thousand values."""
MOST_JSON_VALUES = 200_000
"""More would take a hundred megabytes for a moment: an empty list has two characters and 56 bytes."""


def open_regular(file: Path) -> BinaryIO:
    """Open a file, but no pipe, socket or device, whose reader could wait for ever.

    Raises `OSError` if it cannot be opened, and `ConfigError` if it is something else.
    """
    opened = os.fdopen(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise ConfigError(f"{file} is no file but a pipe, a socket or a device; put a file in its place.")
    return opened


def read_text(file: Path, most_bytes: int) -> str:
    """Read a whole text; raise `ConfigError` with the file, what is wrong with it and what to do."""
    try:
        with open_regular(file) as opened:
            content = opened.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise ConfigError(f"{file} is larger than {most_bytes} bytes; shorten it.")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{file} does not exist; put it there.") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); check its permissions.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object; raise `ConfigError` as `read_text` does."""
    found = read_json_value(file)
    if not isinstance(found, dict):
        raise ConfigError(f"{file} holds no JSON object; download it again.")
    return found


def read_json_value(file: Path) -> Any:
    """Read any JSON; raise `ConfigError` as `read_text` does."""
    text = read_text(file, MOST_JSON_BYTES)
    if sum(map(text.count, "[{,")) > MOST_JSON_VALUES:
        raise ConfigError(f"{file} has more than {MOST_JSON_VALUES} values; download it again.")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # the second if it is nested some hundred deep
        raise ConfigError(f"{file} is not JSON ({str(error).splitlines()[0]}); download it again.") from error
