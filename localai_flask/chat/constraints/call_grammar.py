"""A grammar for calls: how a model writes them, and what its tools' schemas allow, in one Lark grammar.

JSON arguments are parts of the grammar, left to the engine as schemas. Arguments in tags or in a notation of their own
have a rule for each parameter, in the order of the schema; parameters that it does not list cannot be given there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from localai_flask.chat.constraints.strict_schemas import closed
from localai_flask.chat.constraints.tool_checks import find_fault
from localai_flask.chat.conversation import Tool
from localai_flask.chat.formats.base import Written
from localai_flask.chat.formats.tagged_calls import types_of
from localai_flask.errors import InvalidRequest, UnsupportedParameter
from localai_flask.generation import JSON_SPACE, Constraint

TERMINALS = (
    "WS: /[ \\n]{0,2}/",
    f"SPACE: /({JSON_SPACE})?/",
    "NL: /\\n?/",
    "NUMBER: /[0-9]{1,3}/",
    "ANY: /(.|\\n)*/",
    "KEY: /[A-Za-z_][A-Za-z0-9_.\\-]{0,63}/",
)
_JSON_GAP = re.compile(r'(?<=\{)(?="|$)|(?<=":)\s*|(?<=^:)\s*|(?<=,)\s*(?=")|^(?=\})')
"""Where white space may stand in the text around a call's name and arguments."""
QUOTE = '<|"|>'
GEMMA = (
    'g_any: g_text | G_NUMBER | "true" | "false" | "null" | g_list | g_object',
    f"g_text: {json.dumps(QUOTE)} g_rest",
    f"g_rest[lazy]: ANY {json.dumps(QUOTE)}",
    'g_list: "[" (g_any ("," g_any)*)? "]"',
    'g_object: "{" (KEY ":" g_any ("," KEY ":" g_any)*)? "}"',
    "G_NUMBER: /-?(0|[1-9][0-9]{0,15})([.][0-9]{1,16})?([eE][+\\-]?[0-9]{1,3})?/",
)


def json_form(schema: Any, param: str) -> Constraint:
    """Bind a text to a JSON Schema, with no more properties than it lists; raise `InvalidRequest` if it is none."""
    if fault := find_fault(schema):
        raise InvalidRequest(f"`{param}` is no JSON Schema: {fault}.", param=param)
    return _form(schema, param)


def _form(schema: Any, param: str, is_lax: bool = False) -> Constraint:
    """Bind a text to a schema that has been checked; with `is_lax`, one that cannot be enforced means any value."""
    return Constraint("json_schema", json.dumps(closed(schema), ensure_ascii=False), param, is_lax=is_lax)


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def literal(text: str) -> str:
    """Write a text as a sequence of a rule; white space with a new line in it may differ, `{number}` is any number."""
    parts = []
    for piece in re.split(r"(\s*\n\s*|\{number\})", text):
        if piece == "{number}":
            parts.append("NUMBER")
        elif piece:
            parts.append("WS" if "\n" in piece else quoted(piece))
    return " ".join(parts)


def json_literal(text: str) -> str:
    """Write a part of the JSON object that a call is; its white space may differ as that of all JSON."""
    first, *others = (literal(piece) for piece in _JSON_GAP.split(text))
    return " ".join(filter(None, [first, *(f"SPACE {each}" for each in others)]))


def _near(text: str) -> str:
    """Write the text before a value, around which one new line may stand and nothing else."""
    before = text.removesuffix("\n")
    return f"{literal(before)} NL"


class CallGrammar:
    """Collects the rules and parts for all tools; `must` says that what cannot be enforced is to be refused."""

    def __init__(self, written: Written, tools: Sequence[Tool], must: bool, once: bool):
        self.written = written
        self.once = once or written.is_single
        self.parts: dict[str, Constraint] = {}
        self.rules: list[str] = []
        self._frame = json_literal if written.is_json_name else literal
        for index, tool in enumerate(tools):
            is_lax = not (must or tool.strict)
            param = f"tools[{tool.name}].function.parameters"
            arguments = self._arguments(f"{index}", self._ordered(_schema(tool, param)), param, is_lax)
            name = quoted(tool.name) if written.is_json_name else tool.name
            between = written.between_rule or self._frame(written.between)
            self.rules.append(f"body_{index}: {quoted(name)} {between} {arguments} {self._frame(written.after)}")
        self.rules.append("body: " + " | ".join(f"body_{index}" for index in range(len(tools))))

    def behind(self, trigger: str) -> list[str]:
        """Return the rules, `calls` among them, for what stands behind a block's trigger."""
        written = self.written
        if trigger in written.opening:
            rest = written.opening.partition(trigger)[2]
            return [f"calls: {literal(rest)} {self._many()} {literal(written.closing)}", *self._end()]
        return [f"calls: {self._frame(written.before.partition(trigger)[2])} body", *self._end()]

    def whole(self) -> list[str]:
        """Return the rules, `calls` among them, for a whole block."""
        written = self.written
        block = f"{literal(written.opening)} {self._many()} {literal(written.closing)}"
        return [f"calls: {self._preface()} WS {block}", *self._end()]

    def _ordered(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Put the arguments in the order that is wanted."""
        properties = schema.get("properties")
        if not self.written.order or not isinstance(properties, Mapping):
            return schema
        first = [name for name in self.written.order if name in properties]
        rest = sorted(name for name in properties if name not in first)
        return {**schema, "properties": {name: properties[name] for name in (*first, *rest)}}

    def _many(self) -> str:
        if self.written.may_be_list and not self.once:
            return f'(call | "[" WS call ({literal(self.written.joint)} call)* WS "]")'
        return "call" if self.once else f"call ({literal(self.written.joint)} call)*"

    def _preface(self) -> str:
        return "preface?" if self.written.preface else ""

    def _end(self) -> list[str]:
        rules = [f"call: {self._frame(self.written.before)} body", *self.rules, *TERMINALS]
        if self.written.preface:
            begin, end = self.written.preface
            rules += [f"preface: {quoted(begin)} preface_rest", f"preface_rest[lazy]: ANY {quoted(end)}"]
        return rules + (list(GEMMA) if self.written.values == "gemma" else [])

    def _arguments(self, id: str, schema: dict[str, Any], param: str, is_lax: bool) -> str:
        """Return the expression for a function's arguments."""
        if self.written.parameters is None and self.written.values == "json":
            self.parts[f"arguments_{id}"] = _form(schema, param, is_lax)
            return f"@arguments_{id}"
        return self._object(id, schema, param, is_lax)

    def _object(self, id: str, schema: Mapping[str, Any], param: str, is_lax: bool) -> str:
        """Return the expression for an object whose properties have a rule each."""
        properties = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        if not is_lax and (odd := sorted((set(schema) & SHAPES) | (required - set(properties)))):
            raise _refusal(f"{param}.{odd[0]}")
        separator = "" if self.written.parameters else '"," '
        if not properties and schema.get("additionalProperties", True) is not False:
            self.rules.append(f"one_{id}: {self._named('KEY', {}, f'{id}_x', param, True)}")
            return f"(one_{id} ({separator}one_{id})*)?"
        last = len(properties)
        self.rules += [f'first_{id}_{last}: ""', f'more_{id}_{last}: ""']
        for at, (name, each) in reversed(list(enumerate(properties.items()))):
            each = _with_definitions(each, schema)
            value = self._named(quoted(name), each, f"{id}_{at}", f"{param}.properties.{name}", is_lax, name)
            self.rules.append(f"one_{id}_{at}: {value}")
            for kind, before in (("first", ""), ("more", separator)):
                skip = "" if name in required else f" | {kind}_{id}_{at + 1}"
                self.rules.append(f"{kind}_{id}_{at}: {before}one_{id}_{at} more_{id}_{at + 1}{skip}")
        return f"first_{id}_0"

    def _named(self, key: str, schema: Any, id: str, param: str, is_lax: bool, name: str = "") -> str:
        """Return the expression for a parameter: its name and its value."""
        tags = self.written.parameters
        if tags is None:
            sign = '"="' if self.written.values == "keywords" else '":"'
            value = self._gemma(schema, id, param, is_lax) if self.written.values == "gemma" else None
            return f"{key} {sign} {value or self._json(schema, id, param, is_lax)}"
        types = types_of(schema)
        end = tags.after.strip().replace("{key}", name)
        head = f"{literal(tags.before)} {key} "
        if types is None or "string" in types:
            return f"{head}{_near(tags.text)} {self._text(schema, id, end, param, is_lax)} WS"
        return f"{head}{_near(tags.json)} {self._json(schema, id, param, is_lax)} NL {quoted(end)} WS"

    def _json(self, schema: Any, id: str, param: str, is_lax: bool) -> str:
        self.parts[f"value_{id}"] = _form(schema, param, is_lax)
        return f"@value_{id}"

    def _text(self, schema: Any, id: str, end: str, param: str, is_lax: bool) -> str:
        """Return the rule for a text that ends before a mark, and the mark."""
        values = _texts(schema)
        if values is not None:
            space = "NL " if self.written.parameters else ""
            self.rules.append(f"text_{id}: ({' | '.join(map(quoted, values))}) {space}{quoted(end)}")
            return f"text_{id}"
        keywords = (set(schema) if isinstance(schema, Mapping) and types_of(schema) == {"string"} else set()) & TEXTUAL
        any_text = "ANY"
        if keywords and not is_lax:
            if odd := sorted(keywords - LENGTHS):
                raise _refusal(f"{param}.{odd[0]}")
            least, most = schema.get("minLength", 0), schema.get("maxLength", "")
            any_text = f"TEXT_{id}"
            self.rules.append(f"{any_text}: /(.|\\n){{{least},{most}}}/")
        self.rules.append(f"text_{id}[lazy]: {any_text} {quoted(end)}")
        return f"text_{id}"

    def _gemma(self, schema: Any, id: str, param: str, is_lax: bool) -> str:
        """Return the expression for a value in Gemma 4's notation."""
        types = types_of(schema)
        if types == {"string"}:
            return f"{quoted(QUOTE)} {self._text(schema, id, QUOTE, param, is_lax)}"
        if types is not None and types <= {"integer", "number", "boolean", "null"}:
            return self._json(schema, id, param, is_lax)
        if types == {"array"} and not is_lax and (odd := sorted(set(schema) & LISTS)):
            raise _refusal(f"{param}.{odd[0]}")
        if types == {"array"} and isinstance(schema.get("items"), Mapping):
            items = _with_definitions(schema["items"], schema)
            item = self._gemma(items, f"{id}_i", f"{param}.items", is_lax)
            self.rules.append(f"item_{id}: {item}")
            return f'"[" {_repeated(f"item_{id}", schema)} "]"'
        if types == {"object"}:
            return f'"{{" {self._object(f"{id}_o", schema, param, is_lax)} "}}"'
        if not is_lax and schema:
            raise _refusal(param)
        return "g_any"


SHAPES = frozenset(
    {"anyOf", "oneOf", "allOf", "not", "if", "$ref", "patternProperties", "minProperties", "propertyNames"}
)
"""Keywords of an object that rules for its properties cannot keep."""
LENGTHS = frozenset({"minLength", "maxLength"})
TEXTUAL = LENGTHS | {"pattern", "format", "not", "allOf"}
LISTS = frozenset({"prefixItems", "uniqueItems", "contains"})


def _repeated(item: str, schema: Mapping[str, Any]) -> str:
    """Return the expression for a list's items, with commas between them, as many as a schema allows."""
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if most == 0:
        return ""
    more = f"{{{max(least - 1, 0)},{'' if most is None else most - 1}}}"
    return f'({item} ("," {item}){more})' + ("?" if least == 0 else "")


def _schema(tool: Tool, param: str) -> dict[str, Any]:
    # A function that declares no parameters takes none.
    schema = dict(tool.parameters or {"properties": {}, "additionalProperties": False})
    if schema.setdefault("type", "object") != "object":
        raise InvalidRequest(f"`{param}` must be a schema of type object.", param=param)
    return schema


def _with_definitions(schema: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(schema, Mapping):
        return {}
    kept = {key: root[key] for key in ("$defs", "definitions") if key in root}
    schema = {**kept, **schema}
    reference = schema.get("$ref")
    if isinstance(reference, str) and (found := re.fullmatch(r"#/(\$defs|definitions)/([^/]+)", reference)):
        target = (schema.get(found[1]) or {}).get(found[2])
        if isinstance(target, Mapping) and "$ref" not in target:
            return {**kept, **target}
    return schema


def _texts(schema: Any) -> list[str] | None:
    """Return the texts that a schema lists, if it lists any."""
    if not isinstance(schema, Mapping):
        return None
    values = schema.get("enum", [schema["const"]] if "const" in schema else None)
    if not isinstance(values, list) or not values:
        return None
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _refusal(param: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"`{param}` cannot be enforced in the way this model writes calls; leave it out, or do without `strict` and "
        "`tool_choice`.",
        param=param,
    )
