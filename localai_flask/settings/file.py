"""The file of settings: `NAME=value` a line, in the form of the environment files of systemd, docker and LocalAI.

It says what neither a flag nor a variable says. Which variables of an environment come from it is noted there, so that
a program which gets that environment and reads the file again can tell them from those that were given.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from localai_flask.settings import Settings
from localai_flask.settings.fields import PREFIX, env_name

FROM_FILE = f"{PREFIX}FLASK_FROM_FILE"
"""The variable that names those which come from the file."""
NAMES = {field.name: env_name(field) for field in dataclasses.fields(Settings)}
FILE = NAMES["settings_file"]
LINE = re.compile(r"(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)", re.ASCII)
MOST_BYTES = 1 << 20


def read(named: str) -> dict[str, str]:
    """Read the variables of a file; raise `ValueError` with the file, the line and what to do.

    As for systemd, the file need not be there if a `-` stands before its name.
    """
    file = path_of(named)
    if named.startswith("-") and not file.exists():
        return {}
    values = {}
    for number, line in enumerate(_text(file).splitlines(), start=1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        found = LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"{file}, line {number} is no setting; write it like LOCALAI_LOG_LEVEL=debug.")
        name, value = found.groups()
        if name == FILE:
            raise ValueError(f"{file}, line {number}: a file of settings names no other; remove {FILE}.")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        values[name] = value
    try:
        Settings.from_environment({name: value for name, value in values.items() if name in NAMES.values()})
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return values


def path_of(named: str) -> Path:
    """Return the file that the setting names."""
    return Path(named.removeprefix("-"))


def completed(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with what its settings file says as it is now; raise what `read` raises."""
    given = dict(environment)
    for name in given.pop(FROM_FILE, "").split(","):
        given.pop(name, None)
    if not given.get(FILE):
        return given
    found = read(given[FILE])
    added = {name: found[name] for name in NAMES.values() if found.get(name) and not given.get(name)}
    return {**given, **added, FROM_FILE: ",".join(added)}


def _text(file: Path) -> str:
    try:
        with open(file, "rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise ValueError(f"{file} is larger than {MOST_BYTES} bytes; name a file of settings in {FILE}.")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{file} cannot be read ({error.strerror}); {FILE} names it.") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
