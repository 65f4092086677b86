"""What a JSON body may consist of: bytes cost little, but each object, list, text and number costs time and memory.

That is checked before anything is decoded, as 3 bytes can become 60; how deeply it is nested, behind that.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from localai_flask.errors import InvalidRequest

MOST_CONTAINERS = 50_000
"""Objects and lists; what validates and renders a message takes some 20 µs for each."""
MOST_TEXTS = 500_000
"""With the names of fields."""
MOST_ENTRIES = 3_000_000
"""Of lists and objects, however short: prompts may be lists of token ids."""
MOST_DEPTH = 200
"""What reads a body may call two or three functions for each level of it, of the thousand that Python has room for."""

TEXT = re.compile(rb'"[^"]*"')


def check_bounds(body: bytes) -> None:
    """Raise `InvalidRequest` if the body consists of too many things."""
    if not _is_within(*_count(body), body.count(b'"') // 2):
        # What stands in texts does not count. Most bodies have too little of it to get here.
        plain = body.replace(rb"\\", b"__").replace(rb"\"", b"__")
        outside, texts = TEXT.subn(b"", plain, count=MOST_TEXTS + 1)
        if not _is_within(*_count(outside), texts):
            raise InvalidRequest(
                f"The body has more than {MOST_CONTAINERS:,} objects and lists, {MOST_TEXTS:,} texts or "
                f"{MOST_ENTRIES:,} entries; send less at once."
            )


def check_depth(value: Any) -> None:
    """Raise `InvalidRequest` if objects and lists are nested too deeply."""
    level = [value]
    for _ in range(MOST_DEPTH):
        entries = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [each for each in chain.from_iterable(entries) if type(each) in (dict, list)]
        if not level:
            return
    raise InvalidRequest(f"The body is nested too deeply: objects and lists in more than {MOST_DEPTH} others.")


def _count(body: bytes) -> tuple[int, int]:
    return body.count(b"{") + body.count(b"["), body.count(b",")


def _is_within(containers: int, commas: int, texts: int) -> bool:
    return containers <= MOST_CONTAINERS and commas <= MOST_ENTRIES and texts <= MOST_TEXTS
