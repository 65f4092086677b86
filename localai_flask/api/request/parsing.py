"""From a request's body to a typed call: JSON, then a marshmallow schema, and one clear 400 for whatever is wrong.

Schemas say what is wrong with a field as a predicate ("must be a string."); the field's path is put before it here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar, cast

import flask
import flask_smorest  # type: ignore[import-untyped]
import marshmallow
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import UnsupportedMediaType

from localai_flask.api.request.body.json_body import decode_json, read_body
from localai_flask.errors import InvalidRequest, UnsupportedParameter

View = TypeVar("View", bound=Callable[..., Any])


class Unsupported(str):
    """A schema's message for a value that is well-formed and cannot be honoured."""


class JsonParser(FlaskParser):
    """Reads a JSON body strictly and names the first field that is wrong.

    Whatever type the body is said to have: many clients say none, or what their HTTP library says by itself.
    """

    DEFAULT_VALIDATION_STATUS = 400

    def _raw_load_json(self, req: flask.Request) -> dict[str, Any]:
        body = read_body(req)
        if not body.strip():
            raise InvalidRequest("The body is empty; send a JSON object.")
        if req.mimetype.startswith("multipart/"):
            raise UnsupportedMediaType("The body must be JSON; send it with `Content-Type: application/json`.")
        value = decode_json(body)
        if not isinstance(value, dict):
            raise InvalidRequest("The body must be a JSON object.")
        return value

    def handle_error(self, error: marshmallow.ValidationError, *_: Any, **__: Any) -> NoReturn:
        messages = error.messages
        path, message = first_error(messages.get("json", messages) if isinstance(messages, dict) else messages)
        kind = UnsupportedParameter if isinstance(message, Unsupported) else InvalidRequest
        raise kind(f"`{path}` {message}" if path else message, param=path or None)


class Blueprint(flask_smorest.Blueprint, flask.Blueprint):  # type: ignore[misc]
    """A blueprint whose bodies are read by `JsonParser`, and whose views may have paths beside the documented one."""

    ARGUMENTS_PARSER = JsonParser()

    def __init__(self, name: str, import_name: str, description: str):
        super().__init__(name, import_name)
        self.description = description

    def arguments(self, schema: type[marshmallow.Schema], **options: Any) -> Callable[[View], View]:
        """Hand the body to the view, loaded by `schema`."""
        # One instance for all requests: making one copies every field, which took a third of a short request's time.
        return cast("Callable[[View], View]", super().arguments(schema(), **options))

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Callable[[View], View]:
        """Document what the view answers."""
        return cast("Callable[[View], View]", super().response(status_code, schema, **options))

    def alt_response(self, status_code: int, response: str | None = None, **options: Any) -> Callable[[View], View]:
        """Document what else the view may answer."""
        return cast("Callable[[View], View]", super().alt_response(status_code, response, **options))

    @staticmethod
    def doc(**documentation: Any) -> Callable[[View], View]:
        """Add to the view's documentation."""
        return cast("Callable[[View], View]", flask_smorest.Blueprint.doc(**documentation))

    def alias(self, rule: str, *, methods: list[str]) -> Callable[[View], View]:
        """Serve a view at one more path, which the OpenAPI page does not list."""

        def decorate(view: View) -> View:
            name = f"{view.__name__}:{rule}".replace(".", "_")
            flask.Blueprint.add_url_rule(self, rule, name, view, methods=methods)
            return view

        return decorate


def first_error(messages: Any) -> tuple[str, str]:
    """Find the first message in marshmallow's nested errors, with its path ("messages[0].role")."""
    path = ""
    while isinstance(messages, dict):
        key, messages = next(iter(messages.items()))
        if isinstance(key, int):
            path += f"[{key}]"
        elif key != marshmallow.exceptions.SCHEMA:
            path += f".{key}" if path else str(key)
    return path, messages[0] if isinstance(messages, list) else messages
