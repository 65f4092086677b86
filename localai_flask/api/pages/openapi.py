"""The OpenAPI page at /swagger/, its specification, and Swagger UI's files, which come with a package: no network."""

from __future__ import annotations

import importlib.resources
from typing import Any

import flask_smorest  # type: ignore[import-untyped]
import marshmallow
import msgspec
from apispec.ext.marshmallow import MarshmallowPlugin, common, resolver
from flask import Flask, Response, render_template, request, send_from_directory

from localai_flask import __version__

PREFIX = "/swagger"
SPECIFICATION = "openapi.json"
ASSETS = PREFIX + "/assets/"
NAMED_FAMILIES = frozenset({"anthropic", "localai", "ollama", "responses"})
"""The packages whose schemas share class names with OpenAI's; generated clients know schemas by these names."""
EVENT = {
    "type": "object",
    "description": "One of the stream's events.",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}


class ErrorDetail(marshmallow.Schema):
    message = marshmallow.fields.String()
    type = marshmallow.fields.String()
    param = marshmallow.fields.String(allow_none=True)
    code = marshmallow.fields.String()


class Error(marshmallow.Schema):
    error = marshmallow.fields.Nested(ErrorDetail)


class Api(flask_smorest.Api):  # type: ignore[misc]
    """flask-smorest's specification and pages, without its error handler: ours serves the whole application."""

    ERROR_SCHEMA = Error

    def _register_error_handlers(self) -> None:
        pass

    def _openapi_json(self) -> Response:
        servers = [{"url": request.script_root or "/"}]  # clients may know this server by a path below another's root
        return Response(msgspec.json.encode({**self.spec.to_dict(), "servers": servers}), mimetype="application/json")

    def _openapi_swagger_ui(self) -> str:
        return render_template(
            "swagger_ui.html",
            title=self.spec.title,
            spec_url=f"{request.script_root}{PREFIX}/{SPECIFICATION}",
            swagger_ui_url=request.script_root + ASSETS,
            swagger_ui_config={"deepLinking": True},
        )


def create(app: Flask) -> Api:
    """Serve the specification and its page; blueprints registered with what is returned appear there."""
    app.config.update(
        API_TITLE="localai-flask",
        API_VERSION=__version__,
        OPENAPI_VERSION="3.1.0",  # msgspec's schemas are of this version's JSON Schema
        OPENAPI_URL_PREFIX=PREFIX,
        OPENAPI_JSON_PATH=SPECIFICATION,
        OPENAPI_SWAGGER_UI_PATH="/",
        OPENAPI_SWAGGER_UI_URL=ASSETS,
    )
    app.add_url_rule(ASSETS + "<path:name>", "swagger_asset", _asset)
    return Api(app, spec_kwargs={"marshmallow_plugin": MarshmallowPlugin(schema_name_resolver=_schema_name)})


def _schema_name(schema: Any) -> str:
    """Name a schema by its class, and by its API family if it is one of `NAMED_FAMILIES`."""
    name: str = resolver(schema)
    package = common.resolve_schema_cls(schema).__module__.removeprefix("localai_flask.api.").split(".")[0]
    return package.capitalize() + name if package in NAMED_FAMILIES else name


def _asset(name: str) -> Response:
    return send_from_directory(str(importlib.resources.files("flask_swagger_ui") / "dist"), name, max_age=86400)


def schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON Schema of a response's shape, complete in itself."""
    (own,), components = msgspec.json.schema_components([shape], ref_template="{name}")
    inlined: dict[str, Any] = _inlined(own, components)
    return inlined


def schema_of_list(shape: type) -> dict[str, Any]:
    """The JSON Schema of a list."""
    items: dict[str, Any] = {"type": "string"} if shape is str else schema(shape)
    return {"type": "array", "items": items}


def query_parameter(name: str, about: str, **schema: Any) -> dict[str, Any]:
    """Document something that stands in the query; a text, if its schema is not given."""
    return {"in": "query", "name": name, "description": about, "schema": schema or {"type": "string"}}


def streamed(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Document the answers of a request that may ask for a stream of events."""
    kinds = {"application/json": {"schema": schema(shape)}, "text/event-stream": {"schema": EVENT}}
    return {"200": {"content": kinds}}


def lines(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Document the answers of a request that are lines of JSON, unless it asks for one object."""
    kinds = {"application/json": {"schema": schema(shape)}, "application/x-ndjson": {"schema": {"type": "string"}}}
    return {"200": {"content": kinds}}


def _inlined(node: Any, components: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(entry, components) for entry in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inlined(components[node["$ref"]], components)
    return {key: _inlined(value, components) for key, value in node.items()}
