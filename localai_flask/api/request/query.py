"""What the query of an address says, checked."""

from __future__ import annotations

from flask import request

from localai_flask.errors import InvalidRequest

MOST_DIGITS = 18
"""Python refuses to read numbers of thousands of digits, with an error of its own."""


def whole_number(name: str, default: int, least: int, most: int) -> int:
    """Return a number of the query, the default if it is absent or empty; raise `InvalidRequest` for any other text."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS and least <= int(text) <= most):
        raise InvalidRequest(f"`{name}` must be a whole number between {least} and {most}.", param=name)
    return int(text)
