"""Which JSON schemas llama.cpp's own grammars enforce: it passes over keywords that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Constraint

PASSED_OVER = frozenset(
    (
        *("not", "if", "then", "else", "minProperties", "maxProperties", "patternProperties", "propertyNames"),
        *("dependentRequired", "dependentSchemas", "uniqueItems", "contains", "multipleOf", "unevaluatedProperties"),
        *("unevaluatedItems", "minContains", "maxContains"),
    )
)
"""Keywords that change what is valid and that its grammars do not know."""
INTEGER_BOUNDS = frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
"""Keywords that they know for whole numbers alone."""
BY_NAME = frozenset(("properties", "$defs", "definitions"))
"""Keywords that hold schemas by names which are no keywords."""
DATA = frozenset(("const", "enum", "default", "examples"))


def enforced_schema(constraint: Constraint) -> Any:
    """Return the schema to hold an answer to.

    Raises `UnsupportedParameter` for the first keyword that would not be kept, unless any JSON will do then.
    """
    schema = msgspec.json.decode(constraint.text)
    keyword = next(_unenforced(schema), None)
    if keyword is None:
        return schema if isinstance(schema, dict) else {}
    if constraint.is_lax:
        return {"type": schema.get("type", "object")} if isinstance(schema, dict) else {}
    raise UnsupportedParameter(
        f"The schema of `{constraint.param or 'json_schema'}` uses {keyword!r}, which llama-server does not enforce; "
        "leave it out, or choose a model of the llama-cpp backend.",
        param=constraint.param or "json_schema",
    )


def _unenforced(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for each in schema:
            yield from _unenforced(each)
    if not isinstance(schema, dict):
        return
    yield from (key for key in schema if key in PASSED_OVER)
    if schema.get("type") != "integer":
        yield from (key for key in schema if key in INTEGER_BOUNDS)
    for key, value in schema.items():
        if key in BY_NAME and isinstance(value, dict):
            yield from _unenforced(list(value.values()))
        elif key not in DATA:
            yield from _unenforced(value)
