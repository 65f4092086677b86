"""A request to this server's own application, asked inside this process with the key of whoever wants the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Flask
from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from localai_flask.api import current
from localai_flask.api.door.auth import CALLER
from localai_flask.keys.key import ANYONE, Key


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: Iterable[bytes]


def environ_of(
    app: Flask, path: str, body: bytes, keeper: str, headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the environment of a POST by the key of this keeper, as that is now; without one, if it is none any more.

    Whoever has it can cancel the request, by its record.
    """
    builder = EnvironBuilder(
        path=path, method="POST", data=body, headers=Headers(headers), content_type="application/json"
    )
    environ = builder.get_environ()
    if (key := _key(app, keeper)) is not None:
        environ[CALLER] = key
    return environ


def _key(app: Flask, keeper: str) -> Key | None:
    if not keeper:
        return ANYONE
    with app.app_context():
        return current.keys().of_keeper(keeper)


@contextmanager
def asked(app: Flask, environ: dict[str, Any]) -> Iterator[Answer]:
    """Ask the application; behind the block its body is closed, which ends the work if it has not ended.

    werkzeug's `run_wsgi_app` does so with a copy of the environment, of which nobody could cancel the request.
    """
    told: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
        told[:] = [int(status[:3]), Headers(headers)]
        return bytes

    body = app.wsgi_app(environ, start_response)
    try:
        yield Answer(told[0], told[1], body)
    finally:
        if hasattr(body, "close"):
            body.close()
