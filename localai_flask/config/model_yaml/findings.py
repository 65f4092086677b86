"""What is found in a models folder's YAML: faults, which make a model unusable, and warnings, which do not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from localai_flask.errors import ConfigError


class Finding(NamedTuple):
    """One sentence about a file, with the model and the key that it is about, and its line (0: the whole file)."""

    file: str
    line: int
    model: str
    key: str
    text: str
    is_fault: bool = False

    @property
    def place(self) -> str:
        return place(self.file, self.line)

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Refused(ConfigError):
    """Why a mapping makes no model: the first of its faults is the error, `others` are what was found beside it."""

    def __init__(self, model: str, file: object, faults: Sequence[ConfigError], warnings: Sequence[Finding]):
        first, *more = faults
        super().__init__(str(first), param=first.info.param, line=first.line)
        self.others = (*(fault(file, model, each) for each in more), *warnings)


def place(file: object, line: int) -> str:
    """Write where something stands."""
    return f"{file}, line {line}" if line else str(file)


def fault(file: object, model: str, error: ConfigError) -> Finding:
    """Make a finding of an error, whose message may begin with the place."""
    text = re.sub(f"^{re.escape(str(file))}(, line [0-9]+(, column [0-9]+)?)?: ", "", str(error))
    return Finding(str(file), error.line, model, error.info.param or "", text, is_fault=True)
