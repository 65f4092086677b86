"""Requests and callers of which a model's workers have died, and which are not taken for some time."""

from __future__ import annotations

from collections.abc import Container

from localai_flask.errors import CallerSuspended, SuspectedRequest
from localai_flask.pool.in_hand import Mark

SUSPENDED_S = 10.0
"""When a caller may try again whose requests are not taken: the manager knows, and this is its usual time."""


def check_suspect(model: str, mark: Mark, suspects: Container[bytes]) -> None:
    """Raise `CallerSuspended` or `SuspectedRequest` if a request or its caller is among those with these digests."""
    if mark.caller in suspects:
        raise CallerSuspended(
            f"The worker of model {model} has died of several requests of this key, so none is taken from it for some "
            "time; report this with the server's log.",
            retry_after=SUSPENDED_S,
        )
    if mark.request in suspects:
        raise SuspectedRequest(
            f"The worker of model {model} died when it last ran this request alone, so it is not run again for some "
            "minutes; change the request, and report this with the server's log."
        )
