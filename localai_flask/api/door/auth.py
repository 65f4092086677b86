"""Who may call: API keys, if there are any, what they may do, and what else a bearer token may mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, has_app_context, has_request_context, request

from localai_flask.api import current
from localai_flask.api.pages import openapi, web_page
from localai_flask.errors import AdminRequired, Unauthorized
from localai_flask.keys.key import ANYONE, Key
from localai_flask.keys.watched import WatchedKeys

OPEN_PATHS = frozenset({"/health", "/healthz", "/readyz"})
KEY_HEADERS = ("x-api-key", "api-key", "xi-api-key")
"""Where clients send keys beside `Authorization`: those of Anthropic, of Azure, and of ElevenLabs as LocalAI has it."""
ADMIN_ONLY = "is_admin_only"

CALLER = "localai_flask.caller"
"""Where the environment of a request has its key that this process makes itself, for others; no client can say it."""

ATTENDED = "localai_flask.attended"
"""Where the environment of a request that this process makes itself says that somebody waits for the answer."""

RUN_KEEPER = "run_keeper"
"""Where the application context of a background run has its keeper."""

View = TypeVar("View", bound=Callable[..., Any])


def admin_only(view: View) -> View:
    """Let only administrators call a view, once there are keys; checked before its body is read.

    The decorators of blueprints keep a function's attributes, so this may stand above or below them.
    """
    setattr(view, ADMIN_ONLY, True)
    return view


def require_key() -> None:
    """Note whose key the request carries; raise `Unauthorized` if it needs one, `AdminRequired` if it needs another."""
    # A browser's preflight carries no credentials.
    if CALLER in request.environ:
        g.key = request.environ[CALLER]
        return
    if not current.keys().required or is_open(request.path) or request.method == "OPTIONS":
        return
    g.key = _known_key()
    view = current_app.view_functions.get(request.endpoint or "")
    if getattr(view, ADMIN_ONLY, False) and not g.key.admin:
        raise AdminRequired(f"{request.method} {request.path} needs the key of an administrator; this is none.")


def require_all_models() -> None:
    """Raise `AdminRequired` for a key of some models only: an answer about all would name the others to it."""
    if key().model_filter is not None:
        raise AdminRequired(f"{request.method} {request.path} is about all models, and this key may use some only.")


def key() -> Key:
    """Return the key of the present request or background run; `ANYONE` on a server without keys, and elsewhere."""
    found: Key = g.get("key", ANYONE) if has_app_context() else ANYONE
    return found


def work_for(keeper: str) -> None:
    """Have the present application context work for a keeper's key; raise `Unauthorized` if that is none any more."""
    owner = current.keys().of_keeper(keeper) if keeper and current.keys().required else ANYONE
    if owner is None:
        raise Unauthorized("The key that asked for this is none of this server's any more.")
    setattr(g, RUN_KEEPER, keeper)
    g.key = owner


def is_unattended() -> bool:
    """Return whether nobody waits for what is being done: a background run, or a request of a batch."""
    return not has_request_context() or (CALLER in request.environ and ATTENDED not in request.environ)


def keeper() -> str | None:
    """Who keeps what the present request stores, and may have it; "" on a server without keys.

    A background run has the keeper of the request that queued it. None, who may have all, elsewhere.
    """
    if has_request_context():
        return key().keeper
    return g.get(RUN_KEEPER) if has_app_context() else None


def bearer_token() -> str | None:
    """The bearer token, unless it is one of the server's keys."""
    token = _token_in(_header("Authorization"))
    return token if token and current.keys().find(token) is None else None


def is_open(path: str) -> bool:
    """Whether a path is for everybody: the probes, the documentation, and the page, which asks for a key itself."""
    if path == "/":
        return web_page.is_asked() and not current.settings().disable_webui
    return path.rstrip("/") in OPEN_PATHS or f"{path}/".startswith(f"{openapi.PREFIX}/") or web_page.is_file(path)


def find_key(keys: WatchedKeys, header: Callable[[str], str]) -> Key | None:
    """Return which of the keys a request has sent; `header` returns what stands in one of its headers, "" for none."""
    for text in (_token_in(header("Authorization")), *map(header, KEY_HEADERS)):
        if text and (found := keys.find(text)) is not None:
            return found
    return None


def _known_key() -> Key:
    found = find_key(current.keys(), _header)
    if found is None:
        raise Unauthorized("Send one of this server's API keys, as in `Authorization: Bearer <key>`.")
    return found


def _header(name: str) -> str:
    return text_of(request.headers.get(name, ""))


def text_of(header: str) -> str:
    """Return a header's text, without the blanks around it."""
    text = header.strip()
    try:
        return text.encode("latin-1").decode()  # WSGI hands over bytes as Latin-1, whatever they are
    except UnicodeDecodeError:
        return text


def _token_in(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if token:
        return token.strip() if scheme.lower() == "bearer" else ""
    return scheme  # some clients send the bare key
