"""An answer as JSON."""

from __future__ import annotations

import msgspec
from flask import Response


def json_response(value: object, status: int = 200) -> Response:
    """Make the response that is this value; bytes are JSON already."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Response(body, status, mimetype="application/json")
