"""How many descriptors the server's processes may open, and how many of them are for clients' connections."""

from __future__ import annotations

import resource

ENOUGH = 65_536
"""A soft limit beyond this is of no use, and programs that walk over all descriptors they might have get slow."""
MOST_CONNECTIONS = 4096
"""Of one web worker."""
OTHERS = 512
"""Descriptors that a web worker needs beside connections: channels to models, the database, files, its libraries'."""


def soft_limit() -> int:
    """Return the limit that `raise_limit` sets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    return wanted if soft == resource.RLIM_INFINITY else max(soft, wanted)


def raise_limit() -> None:
    """Let this process and those that it starts open as many descriptors as they can use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft not in (resource.RLIM_INFINITY, soft_limit()):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft_limit(), hard))


def connections(limit: int) -> int:
    """Return how many connections a web worker may have that may open `limit` descriptors."""
    return min(MOST_CONNECTIONS, max(limit - OTHERS, limit // 2))
