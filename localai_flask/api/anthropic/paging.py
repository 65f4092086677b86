"""Pages of a list, as Anthropic's API asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import request

from localai_flask.api.answer.listing import Listed
from localai_flask.api.request.query import whole_number

PARAMETERS: list[dict[str, Any]] = [
    {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1}},
    {"in": "query", "name": "after_id", "schema": {"type": "string"}},
    {"in": "query", "name": "before_id", "schema": {"type": "string"}},
]


def choose_page(listed: Sequence[Listed], usual: int, longest: int) -> tuple[Sequence[Listed], bool]:
    """Return the part of a list that the query asks for, and whether there is more in that direction."""
    ids = [each.id for each in listed]
    begin, end = 0, len(listed)
    if (after := request.args.get("after_id")) in ids:
        begin = ids.index(after) + 1
    if (before := request.args.get("before_id")) in ids:
        end = ids.index(before)
    found = listed[begin:end]
    count = whole_number("limit", usual, 1, longest)
    page = found[-count:] if before in ids else found[:count]
    return page, len(found) > len(page)
