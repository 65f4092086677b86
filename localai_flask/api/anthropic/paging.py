"""Pages of a list, as Anthropic's API asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import request

from localai_flask.api.answer.listing import Listed
from localai_flask.api.request.query import whole_number
from localai_flask.errors import InvalidRequest

PARAMETERS: list[dict[str, Any]] = [
    {"in": "query", "name": "limit", "schema": {"type": "integer", "minimum": 1}},
    {"in": "query", "name": "after_id", "schema": {"type": "string"}},
    {"in": "query", "name": "before_id", "schema": {"type": "string"}},
]


def choose_page(listed: Sequence[Listed], usual: int, longest: int) -> tuple[Sequence[Listed], bool]:
    """Return the part of a list that the query asks for, and whether there is more in that direction.

    Raises `InvalidRequest` if the query names what is not in the list.
    """
    after, before = _place("after_id", listed), _place("before_id", listed)
    found = listed[0 if after is None else after + 1 : before]
    count = whole_number("limit", usual, 1, longest)
    page = found[:count] if before is None else found[-count:]
    return page, len(found) > len(page)


def _place(name: str, listed: Sequence[Listed]) -> int | None:
    """Return where in a list stands what the query names; None if it names nothing."""
    id = request.args.get(name)
    if not id:
        return None
    found = next((index for index, each in enumerate(listed) if each.id == id), None)
    if found is None:
        raise InvalidRequest(f"`{name}` names {id}, which is none of the items.", param=name)
    return found
