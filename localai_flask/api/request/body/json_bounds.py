"""What a JSON body may consist of: bytes cost little, but each object, list, text and number costs time and memory.

Checked before anything is decoded, as 3 bytes can become 60.
"""

from __future__ import annotations

import re

from localai_flask.errors import InvalidRequest

MOST_CONTAINERS = 50_000
"""Objects and lists; what validates and renders a message takes some 20 µs for each."""
MOST_TEXTS = 500_000
"""With the names of fields."""
MOST_ENTRIES = 3_000_000
"""Of lists and objects, however short: prompts may be lists of token ids."""

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


def _count(body: bytes) -> tuple[int, int]:
    return body.count(b"{") + body.count(b"["), body.count(b",")


def _is_within(containers: int, commas: int, texts: int) -> bool:
    return containers <= MOST_CONTAINERS and commas <= MOST_ENTRIES and texts <= MOST_TEXTS
