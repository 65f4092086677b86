"""Pages of kept items, as OpenAI lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from flask import Response, request

from localai_flask.api.answer.json_response import json_response
from localai_flask.api.pages import openapi
from localai_flask.api.request.query import whole_number
from localai_flask.errors import InvalidRequest
from localai_flask.store.kept import Kept

PAGE, LONGEST_PAGE = 20, 100


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Listed = TypeVar("Listed", bound=HasId)


def parameters(longest: int = LONGEST_PAGE) -> list[dict[str, Any]]:
    """Return the OpenAPI page's entries for what the query says of a page."""
    return [
        openapi.query_parameter("limit", "How many.", type="integer", minimum=1, maximum=longest),
        openapi.query_parameter("order", "asc or desc.", type="string", enum=["asc", "desc"]),
        openapi.query_parameter("after", "The id of the item behind which to begin."),
    ]


def respond_with_page(kept: Sequence[Kept], usual: int = PAGE, longest: int = LONGEST_PAGE) -> Response:
    """Answer with the page of these items that the query asks for, the last first unless `order` is asc.

    Raises `InvalidRequest` for a query that cannot be followed.
    """
    return respond_with_list(*choose_page(kept, usual, longest))


def choose_page(
    kept: Sequence[Listed], usual: int = PAGE, longest: int = LONGEST_PAGE
) -> tuple[Sequence[Listed], bool]:
    """Return the page that the query asks for, and whether there are more behind it."""
    limit = whole_number("limit", usual, 1, longest)
    order, after = request.args.get("order", "desc"), request.args.get("after")
    if order not in ("asc", "desc"):
        raise InvalidRequest("`order` must be one of: asc, desc.", param="order")
    ordered = list(kept) if order == "asc" else list(reversed(kept))
    if after is not None:
        ids = [each.id for each in ordered]
        if after not in ids:
            raise InvalidRequest(f"`after` names {after}, which is none of the items.", param="after")
        ordered = ordered[ids.index(after) + 1 :]
    return ordered[:limit], len(ordered) > limit


def respond_with_list(kept: Sequence[Kept], has_more: bool = False) -> Response:
    """Answer with these items, in this order."""
    first, last = (kept[0].id, kept[-1].id) if kept else (None, None)
    listed = {"object": "list", "data": [msgspec.Raw(each.body) for each in kept]}
    return json_response({**listed, "first_id": first, "last_id": last, "has_more": has_more})
