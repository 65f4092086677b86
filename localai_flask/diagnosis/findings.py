"""What a check has found."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "warning", "problem"]


class Finding(msgspec.Struct, frozen=True):
    """One sentence about one matter, and what to do if it is no good one."""

    status: Status
    topic: str
    text: str
    advice: str = ""
