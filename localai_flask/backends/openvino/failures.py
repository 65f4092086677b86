"""How what is wrong with a model is said: one sentence with the library's own words."""

from __future__ import annotations

MOST_SAID = 300


def reason(error: BaseException) -> str:
    """Shorten what the library says: it begins with the places in its source that an error has come through."""
    lines = [line.strip() for line in str(error).splitlines()]
    words = [line for line in lines if line and not line.startswith("Exception from ")]
    return (words[-1] if words else type(error).__name__)[:MOST_SAID].rstrip(".")
