"""What the model is shown of a conversation's past that this server cannot read.

Clients send a conversation whole with each request, so what was refused once in its past would be refused for ever.
Only what is asked now is refused; of the rest, all that is text is shown as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

UNSHOWN = frozenset({"type", "id", "status", "signature", "cache_control", "encrypted_content", "encrypted_index"})
"""Keys of a foreign entry that say nothing to a model."""
LONGEST_WORD = 200
"""Longer texts without a space are taken for data, such as a picture in base64 or what another server has encrypted."""


def foreign_text(kind: str, entry: Mapping[str, Any]) -> str:
    """Return the text that stands for an entry of a type which this server does not know or its model cannot read."""
    shown = _readable({key: value for key, value in entry.items() if key not in UNSHOWN})
    return f"[{kind}] {json.dumps(shown, ensure_ascii=False)}" if shown else f"[{kind}]"


def _readable(value: Any) -> Any:
    """Return what a model could read of a value; None for what is data or empty."""
    if isinstance(value, str):
        return None if _is_data(value) else value
    if isinstance(value, list):
        return [each for each in map(_readable, value) if each not in (None, "", [], {})]
    if isinstance(value, dict):
        read = {key: _readable(each) for key, each in value.items() if key not in UNSHOWN - {"type"}}
        return {key: each for key, each in read.items() if each not in (None, "", [], {})}
    return value


def _is_data(text: str) -> bool:
    return text.startswith("data:") or (len(text) > LONGEST_WORD and not any(map(str.isspace, text[:LONGEST_WORD])))
