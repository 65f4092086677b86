"""JSON schemas as openvino-genai's xgrammar keeps them: what it would pass over, or get wrong, is refused by name.

It compiles any schema. Seen with openvino-genai 2026.4.1: `uniqueItems`, `contains`, `not`, `multipleOf`, the second
part of `allOf`, and all that stands beside `$ref`, `anyOf` and `enum` have no effect; numbers with bounds come out as
`0v5`; a pattern may match the quote that ends its string, and strings with a length have control characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from localai_flask.errors import InvalidRequest
from localai_flask.generation import Constraint

NOTES = frozenset(
    (
        *("title", "description", "default", "examples", "$schema", "$id", "$comment", "deprecated", "readOnly"),
        *("writeOnly", "nullable", "$defs", "definitions"),
    )
)
"""Keywords that forbid nothing."""
ALONE = ("$ref", "anyOf", "allOf", "enum", "const")
"""Keywords beside which the library looks at no other."""
OF_TYPES = {
    "object": frozenset(("properties", "required", "additionalProperties")),
    "array": frozenset(("items", "prefixItems", "minItems", "maxItems")),
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
    "integer": frozenset(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    "number": frozenset[str](),
    "boolean": frozenset[str](),
    "null": frozenset[str](),
}
FORMATS = frozenset(("date", "time", "date-time", "uuid"))
CHARACTER = r"([^\x00-\x1f\"\\]|\\[\"\\/bfnrt]|\\u[0-9a-fA-F]{4})"
"""One character of a JSON string, as it is written."""
_PLAIN_PATTERN = re.compile(
    r"\^?(?:[A-Za-z0-9 _:/@,;#%&=~-]|\\[dw.+*?()\[\]{}|^$/-]|\[[A-Za-z0-9 _.,:/@+-]+\]|[()|*+?]|\{\d+(?:,\d*)?\})*\$?"
)
"""Patterns that match no character which a JSON string writes in another way."""
Schema = Mapping[str, Any]


def enforceable_schema(constraint: Constraint) -> str:
    """Return a constraint's schema for the library; raise `InvalidRequest` if it would not keep all of it.

    One that is lax means any JSON of its type then.
    """
    schema = json.loads(constraint.text)
    fault = next(_faults(schema, "the schema"), None)
    if fault is None:
        return json.dumps(_rewritten(schema))
    if constraint.is_lax:
        kind = schema.get("type") if isinstance(schema, dict) else None
        return json.dumps({"type": kind} if kind in OF_TYPES else {})
    field = constraint.param or constraint.kind
    raise InvalidRequest(
        f"`{field}`: {fault} cannot be enforced by the openvino backend; leave it out, or choose a model of another "
        "backend, such as llama-cpp.",
        param=field,
    )


def _faults(schema: Any, place: str) -> Iterator[str]:
    """Find what the library does not keep, as a name and a place."""
    if schema is True:
        return
    if not isinstance(schema, dict):
        yield f"`{json.dumps(schema)}` in {place}"
        return
    keys = schema.keys() - NOTES
    alone = next((key for key in ALONE if key in keys), None)
    yield from _faults_alone(schema, alone, place) if alone else _faults_of_types(schema, keys, place)
    for key, inner in _inner(schema):
        yield from _faults(inner, f"{place}.{key}")


def _faults_alone(schema: Schema, alone: str, place: str) -> Iterator[str]:
    beside = schema.keys() - NOTES - {alone}
    if alone in ("enum", "const") and "type" in beside:
        values = schema["enum"] if alone == "enum" else [schema["const"]]
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if all(any(_is_of(value, kind) for kind in kinds) for value in values):
            beside -= {"type"}
    yield from (f"`{key}` beside `{alone}` in {place}" for key in sorted(beside))
    if alone == "$ref" and not str(schema["$ref"]).startswith("#"):
        yield f"`$ref` to another document in {place}"
    if alone == "allOf" and len(schema["allOf"]) > 1:
        yield f"`allOf` of more than one schema in {place}"


def _faults_of_types(schema: Schema, keys: set[str], place: str) -> Iterator[str]:
    named = schema.get("type")
    kinds = named if isinstance(named, list) else [named] if named is not None else ["object", "array"]
    known = {"type"}.union(*(OF_TYPES.get(kind, frozenset()) for kind in kinds))
    yield from (f"`{key}` in {place}" for key in sorted(keys - known))
    yield from (f"`type: {kind}` in {place}" for kind in kinds if kind not in OF_TYPES)
    if len(kinds) > 1 and "number" in kinds and keys & OF_TYPES["integer"]:
        yield f"a bound of numbers in {place}"
    lacking = [name for name in schema.get("required", ()) if name not in schema.get("properties", {})]
    yield from (f"`required: {name}`, which is no property, in {place}" for name in lacking)
    texts = keys & {"pattern", "format"}
    if len(texts) > 1 or (texts and keys & {"minLength", "maxLength"}):
        yield f"`{min(texts)}` beside other rules for the string in {place}"
    if "pattern" in keys and not _PLAIN_PATTERN.fullmatch(str(schema["pattern"])):
        yield f"the pattern `{schema['pattern']}` in {place}"
    if "format" in keys and schema["format"] not in FORMATS:
        yield f"`format: {schema['format']}` in {place}"


def _is_of(value: Any, kind: str) -> bool:
    match value:
        case None:
            return kind == "null"
        case bool():
            return kind == "boolean"
        case int():
            return kind in ("integer", "number")
        case float():
            return kind == "number"
        case str():
            return kind == "string"
    return kind == ("array" if isinstance(value, list) else "object")


def _inner(schema: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the schemas inside of one, with where they are."""
    for key in ("properties", "$defs", "definitions"):
        yield from ((f"{key}.{name}", each) for name, each in _mapping(schema.get(key)).items())
    for key in ("anyOf", "allOf", "prefixItems"):
        yield from ((f"{key}[{at}]", each) for at, each in enumerate(schema.get(key) or ()))
    for key in ("items", "additionalProperties"):
        if (inner := schema.get(key, True)) is not False:
            yield key, inner


def _rewritten(schema: Any) -> Any:
    """Write lengths of strings as patterns, which the library gets right."""
    if not isinstance(schema, dict):
        return schema
    made = {key: value for key, value in schema.items() if key not in ("minLength", "maxLength")}
    if made.keys() != schema.keys() and "string" in (schema.get("type"), *_listed(schema.get("type"))):
        made["pattern"] = f"^{CHARACTER}{{{schema.get('minLength', 0)},{schema.get('maxLength', '')}}}$"
    for key in ("properties", "$defs", "definitions"):
        if key in made:
            made[key] = {name: _rewritten(each) for name, each in _mapping(made[key]).items()}
    for key in ("anyOf", "allOf", "prefixItems"):
        if key in made:
            made[key] = [_rewritten(each) for each in made[key]]
    for key in ("items", "additionalProperties"):
        if key in made:
            made[key] = _rewritten(made[key])
    return made


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
