"""Who may call: API keys, if any are set, and what else a bearer token may mean."""

from __future__ import annotations

import hashlib
import hmac

from flask import g, has_request_context, request

from localai_flask.api import current, docs
from localai_flask.errors import Unauthorized

OPEN_PATHS = frozenset({"/healthz", "/readyz"})


def require_key() -> None:
    """Raise `Unauthorized` unless the request carries one of the server's keys, or needs none."""
    keys = current.settings().api_key
    # A browser's preflight carries no credentials.
    if not keys or is_open(request.path) or request.method == "OPTIONS":
        return
    key = next((token for token in _presented() if _is_key(token, keys)), None)
    if key is None:
        raise Unauthorized("Send one of this server's API keys, as in `Authorization: Bearer <key>`.")
    g.keeper = hashlib.sha256(key.encode()).hexdigest()


def keeper() -> str | None:
    """Who keeps what the present request stores, and may have it: a digest of its key, "" on a server without keys.

    None outside of requests: background runs, which were checked when they were queued.
    """
    return g.get("keeper", "") if has_request_context() else None


def bearer_token() -> str | None:
    """The bearer token, unless it is one of the server's keys."""
    token = _bearer()
    return token if token and not _is_key(token, current.settings().api_key) else None


def is_open(path: str) -> bool:
    """Whether a path is for everybody: the probes and the documentation."""
    return path.rstrip("/") in OPEN_PATHS or f"{path}/".startswith(f"{docs.PREFIX}/")


def _presented() -> list[str]:
    sent = (_bearer(), _header("x-api-key"), _header("xi-api-key"))
    return [token for token in sent if token]


def _header(name: str) -> str:
    text = request.headers.get(name, "").strip()
    try:
        return text.encode("latin-1").decode()  # WSGI hands over bytes as Latin-1, whatever they are
    except UnicodeDecodeError:
        return text


def _bearer() -> str:
    header = _header("Authorization")
    scheme, _, token = header.partition(" ")
    if token:
        return token.strip() if scheme.lower() == "bearer" else ""
    return scheme  # some clients send the bare key


def _is_key(token: str, keys: tuple[str, ...]) -> bool:
    """Compare with every key, in a time that does not tell how much of one was right."""
    found = False
    for key in keys:
        found |= hmac.compare_digest(token.encode(), key.encode())
    return found
