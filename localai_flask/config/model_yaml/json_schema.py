"""The JSON Schema of a model's YAML, for editors: keys with types, ranges and meanings, derived from the structs."""

from __future__ import annotations

import ast
import functools
import inspect as python_inspect
import textwrap
from typing import Any

import msgspec

from localai_flask.config import blocks, functions, model
from localai_flask.config.model_yaml.key_fates import KEY_FATES, RENAMED
from localai_flask.config.model_yaml.schema import FILLED_IN

DIALECT = "https://json-schema.org/draft/2020-12/schema"
SENTENCES = {
    "quiet": "Not read: {}.",
    "warned": "This key {}.",
    "refused": "Refused: this key {}.",
}


@functools.cache
def json_schema() -> dict[str, Any]:
    """Return the schema of a file that holds one model, or a list of models (draft 2020-12)."""
    _, definitions = msgspec.json.schema_components([model.ModelConfig])
    whole = definitions["ModelConfig"]
    for key in FILLED_IN:
        whole["properties"].pop(key, None)
    for name, definition in definitions.items():
        _finish(definition, _documented(name))
    whole["required"] = []
    whole["description"] = "What a model is and how it is served; docs/configuration.md explains the keys."
    for path, fate in KEY_FATES.items():
        _add(
            whole, definitions, path, {"deprecated": True, "description": SENTENCES[fate.effect].format(fate.sentence)}
        )
    for older, key in RENAMED.items():
        _add(whole, definitions, older, {"deprecated": True, "description": f"An older name of `{key}`."})
    variant = {"type": "object", "additionalProperties": {"$ref": "#/$defs/ModelConfig"}}
    whole["properties"]["variants"] = {**variant, "description": "Further models of the same weights, by name."}
    own = {"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/ModelConfig"}]}}
    whole["properties"]["adapters"] = {**own, "description": "LoRA adapters as models, by name: a file, or keys."}
    one = {"$ref": "#/$defs/ModelConfig"}
    return {
        "$schema": DIALECT,
        "title": "A model of localai-flask",
        "oneOf": [one, {"type": "array", "items": one}],
        "$defs": definitions,
    }


def _finish(definition: dict[str, Any], described: dict[str, str]) -> None:
    definition["additionalProperties"] = False
    definition["description"] = definition.get("description", "").partition("\n\n")[0]
    for key, column in definition["properties"].items():
        column.pop("default", None)
        written = _as_written(column, is_duration=key == "keep_alive")
        definition["properties"][key] = {**written, "description": described[key]} if key in described else written


def _as_written(column: dict[str, Any], is_duration: bool = False) -> dict[str, Any]:
    """Return what may stand in YAML for a value: a number for text, one text for a list of one, `10m` for 600."""
    if "anyOf" in column:
        return {"anyOf": [_as_written(each, is_duration) for each in column["anyOf"]]}
    match column.get("type"):
        case "string":
            return {
                "anyOf": [
                    column,
                    {"type": ["integer", "boolean"] if "true" in column.get("pattern", "") else "integer"},
                ]
            }
        case "array":
            return {"anyOf": [column | {"items": _as_written(column.get("items", {}))}, {"type": "string"}]}
        case "number" if is_duration:
            return {"anyOf": [column, {"type": "string", "pattern": "^([0-9.]+(ms|s|m|h|d))+$"}]}
    return column


@functools.cache
def _documented(name: str) -> dict[str, str]:
    """Return what stands below each field of a struct in its source, the fields that it inherits included."""
    struct = next(getattr(module, name) for module in (model, blocks, functions) if hasattr(module, name))
    found: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if base.__module__.startswith("localai_flask"):
            found |= _docstrings(base)
    return found


def _docstrings(struct: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(python_inspect.getsource(struct))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[ast.unparse(before.target)] = str(after.value.value)
    return found


def _add(whole: dict[str, Any], definitions: dict[str, Any], path: str, said: dict[str, Any]) -> None:
    """Add a key that is known and not read, unless its block is not either, and so has everything below it."""
    *blocks, key = path.split(".")
    place = whole
    for block in blocks:
        column = place["properties"].get(block)
        if column is None or "$ref" not in str(column):
            return
        place = definitions[_referred(column)]
    if not key.endswith("[]"):
        place["properties"].setdefault(key, said)


def _referred(column: dict[str, Any]) -> str:
    reference = column.get("$ref") or next(each["$ref"] for each in column.get("anyOf", ()) if "$ref" in each)
    return str(reference).rpartition("/")[2]
