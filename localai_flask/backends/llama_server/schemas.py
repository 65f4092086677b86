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
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
"""Keywords that they know for whole numbers alone."""
LENGTHS, SIZES = ("minLength", "maxLength"), ("minItems", "maxItems")
ALONE = ("$ref", "oneOf", "anyOf", "const", "enum")
"""Keywords beside which they look at no other; the first of these that a schema has counts."""
RULES = frozenset(
    (
        *(*ALONE, *BOUNDS, *LENGTHS, *SIZES, "type", "allOf", "properties", "required", "additionalProperties"),
        *("items", "prefixItems", "pattern"),
    )
)
"""Keywords that change what is valid and that they know, in some places."""
FORMATS = ("date", "time", "date-time", "uuid")
"""Those of `format` that they know, each of which stands for the whole string."""
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
    alone = next((key for key in ALONE if key in schema), None)
    yield from _beside(schema, alone) if alone is not None else _out_of_place(schema)
    for key, value in schema.items():
        if key in BY_NAME and isinstance(value, dict):
            yield from _unenforced(list(value.values()))
        elif key not in DATA:
            yield from _unenforced(value)


def _beside(schema: dict[str, Any], alone: str) -> Iterator[str]:
    """Yield the keywords that have no effect as another stands beside them."""
    harmless = {alone}
    if alone in ("const", "enum"):
        harmless |= {"const", "enum", "type"}
    elif alone != "$ref" and all(
        isinstance(each, dict) and each.get("type") == schema.get("type") for each in _listed(schema[alone])
    ):
        harmless |= {"type"}
    yield from (key for key in schema if key in RULES - harmless)


def _out_of_place(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the keywords that have no effect for the types, or together with others."""
    named = schema.get("type")
    kinds = {each for each in (named if isinstance(named, list) else [named]) if isinstance(each, str)}
    properties = schema["properties"] if isinstance(schema.get("properties"), dict) else {}
    idle: set[str] = set()
    if not kinds or "number" in kinds:
        idle.update(BOUNDS)
    if not kinds or ("string" in kinds and ("pattern" in schema or schema.get("format") in FORMATS)):
        idle.update(LENGTHS)
    if (not kinds or "string" in kinds) and not _is_whole(schema.get("pattern", "^$")):
        idle.add("pattern")
    if (not kinds or "array" in kinds) and not isinstance(schema.get("items"), dict):
        idle.update(SIZES)
    if "items" in schema:
        idle.add("prefixItems")
    if "allOf" in schema:
        if not _joins(schema, kinds):
            idle.add("allOf")
    elif any(isinstance(name, str) and name not in properties for name in _listed(schema.get("required"))):
        idle.add("required")
    yield from (key for key in schema if key in idle)


def _is_whole(pattern: Any) -> bool:
    """Return whether a pattern is for a whole string; they pass over one that is for a part of it."""
    return isinstance(pattern, str) and pattern.startswith("^") and pattern.endswith("$")


def _joins(schema: dict[str, Any], kinds: set[str]) -> bool:
    """Return whether the parts of `allOf` are put together: properties and lists of values are, by themselves."""
    parts = all(
        isinstance(each, dict) and {"$ref", "properties", "enum"} & each.keys() for each in _listed(schema["allOf"])
    )
    return parts and kinds <= {"object", "string"} and not {"properties", "additionalProperties"} & schema.keys()


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
