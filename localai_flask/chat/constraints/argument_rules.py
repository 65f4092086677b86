"""Grammar rules for the arguments of calls, from the schemas of their functions.

A keyword of a schema that rules cannot keep is refused by name, unless nobody asked for it to be kept (`is_lax`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, NamedTuple

import msgspec

from localai_flask.chat.constraints.lark import (
    EMPTY,
    Expression,
    Grammar,
    Literal,
    Name,
    Regex,
    Repeat,
    Rule,
    choice,
    optional,
    sequence,
)
from localai_flask.chat.constraints.strict_schemas import closed
from localai_flask.chat.formats.notation import JsonArguments, PairedArguments, TaggedArguments
from localai_flask.chat.formats.tagged_calls import types_of
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import JSON_SPACE, Constraint

WS, SPACE, NEW_LINE, NUMBER, ANY, KEY = map(Name, ("WS", "SPACE", "NL", "NUMBER", "ANY", "KEY"))
COMMA, COLON = Literal(","), Literal(":")
ANY_VALUE, ANY_TEXT = Name("any_value"), Name("any_text")
_JSON_GAP = re.compile(r'(?<=\{)(?="|$)|(?<=":)\s*|(?<=^:)\s*|(?<=,)\s*(?=")|^(?=\})')
"""Where white space may stand in the text around a call's name and arguments."""
TERMINALS = {
    "WS": Rule(Regex("[ \\n]{0,2}")),
    "SPACE": Rule(Regex(f"({JSON_SPACE})?")),
    "NL": Rule(Regex("\\n?")),
    "NUMBER": Rule(Regex("[0-9]{1,3}")),
    "ANY": Rule(Regex("(.|\\n)*")),
    "KEY": Rule(Regex("[A-Za-z_][A-Za-z0-9_.\\-]{0,63}")),
    "QUOTED_NUMBER": Rule(Regex("-?(0|[1-9][0-9]{0,15})([.][0-9]{1,16})?([eE][+\\-]?[0-9]{1,3})?")),
}
SHAPES = frozenset(
    {"anyOf", "oneOf", "allOf", "not", "if", "$ref", "patternProperties", "minProperties", "propertyNames"}
)
"""Keywords of an object that rules for its properties cannot keep."""
LENGTHS = frozenset({"minLength", "maxLength"})
TEXTUAL = LENGTHS | {"pattern", "format", "not", "allOf"}
LISTS = frozenset({"prefixItems", "uniqueItems", "contains"})


def schema_form(schema: Any, param: str, is_lax: bool = False) -> Constraint:
    """Bind a text to a schema that has been checked; with `is_lax`, one that cannot be enforced means any value."""
    return Constraint("json_schema", json.dumps(closed(schema), ensure_ascii=False), param, is_lax=is_lax)


def literal(text: str) -> Expression:
    """Return the expression for a text in which white space with a new line may differ; `{number}` is any number."""
    parts = [piece for piece in re.split(r"(\s*\n\s*|\{number\})", text) if piece]
    return sequence(*(NUMBER if part == "{number}" else WS if "\n" in part else Literal(part) for part in parts))


def json_literal(text: str) -> Expression:
    """Return the expression for a part of a JSON object with a call; white space may differ as in all JSON."""
    first, *others = (literal(piece) for piece in _JSON_GAP.split(text))
    return sequence(first, *(part for each in others for part in (SPACE, each)))


class _Given(NamedTuple):
    """The rule for one parameter, and whether it may be left out."""

    rule: Expression
    is_optional: bool


class ArgumentRules:
    """Adds the rules for the arguments of functions to a grammar."""

    def __init__(self, notation: JsonArguments | TaggedArguments | PairedArguments, grammar: Grammar):
        self._notation, self._grammar = notation, grammar
        if isinstance(notation, PairedArguments) and notation.quote:
            self._define_any_value(notation.quote)

    def arguments(self, id: str, schema: dict[str, Any], param: str, is_lax: bool) -> Expression:
        """Return the expression for a function's arguments; `id` makes the names of rules its own."""
        if isinstance(self._notation, JsonArguments):
            form = schema_form(_ordered(schema, self._notation.order), param, is_lax)
            return self._grammar.add_part(f"arguments_{id}", form)
        return self._object(id, schema, param, is_lax)

    def only_text(self, id: str, key: str, form: Constraint) -> Expression:
        """Return the expression for arguments that are one text in a form of its own."""
        notation = self._notation
        if isinstance(notation, TaggedArguments):
            # Readers take one new line off at both ends, so that those of the text itself are kept by two more.
            head = (literal(notation.before), Literal(key), literal(notation.text.removesuffix("\n")), Literal("\n"))
            return sequence(*head, self._framed(id, form, "\n" + notation.end(key)), WS)
        if isinstance(notation, PairedArguments):
            quote = notation.quote or '"'
            return sequence(Literal(key + notation.sign + quote), self._framed(id, form, quote))
        return sequence(json_literal(f'{{{json.dumps(key)}: "'), self._framed(id, form, '"'), SPACE, Literal("}"))

    def _framed(self, id: str, form: Constraint, end: str) -> Expression:
        return self._grammar.add_part(f"text_{id}", msgspec.structs.replace(form, end=end))

    def _object(self, id: str, schema: Mapping[str, Any], param: str, is_lax: bool) -> Expression:
        """Return the expression for an object whose properties have a rule each."""
        properties = schema.get("properties") or {}
        required = set(schema.get("required") or ())
        if not is_lax and (odd := sorted((set(schema) & SHAPES) | (required - set(properties)))):
            raise _refusal(f"{param}.{odd[0]}")
        separator = () if isinstance(self._notation, TaggedArguments) else (COMMA,)
        if not properties and schema.get("additionalProperties", True) is not False:
            one = self._grammar.define(f"one_{id}", self._named(KEY, {}, f"{id}_x", param, True))
            return optional(sequence(one, Repeat(sequence(*separator, one))))
        given: list[_Given] = []
        for at, (name, each) in enumerate(properties.items()):
            each = _with_definitions(each, schema)
            place = f"{param}.properties.{name}"
            value = self._named(Literal(name), each, f"{id}_{at}", place, is_lax, name)
            given.append(_Given(self._grammar.define(f"one_{id}_{at}", value), name not in required))
        if not given:
            return EMPTY
        some = self._some_of(id, given, separator)
        return optional(some) if all(each.is_optional for each in given) else some

    def _some_of(self, id: str, given: Sequence[_Given], separator: tuple[Expression, ...]) -> Expression:
        """Return the rule for one or more of these parameters, in their order, with all that are required.

        It halves them, as compilers that go down a rule for each would run out of their stack.
        """
        if len(given) == 1:
            return given[0].rule
        half = len(given) // 2
        sides = given[:half], given[half:]
        left, right = (self._some_of(f"{id}_{name}", side, separator) for name, side in zip("lr", sides, strict=True))
        is_left_free, is_right_free = (all(each.is_optional for each in side) for side in sides)
        ways = [sequence(left, *separator, right)]
        if is_right_free:
            ways.append(left)
        if is_left_free:
            ways.append(right)
        return self._grammar.define(f"some_{id}", choice(ways))

    def _named(self, key: Expression, schema: Any, id: str, param: str, is_lax: bool, name: str = "") -> Expression:
        """Return the expression for a parameter: its name and its value."""
        notation = self._notation
        assert not isinstance(notation, JsonArguments)
        if isinstance(notation, PairedArguments):
            value = self._quoted if notation.quote else self._json
            return sequence(key, Literal(notation.sign), value(schema, id, param, is_lax))
        types, end = types_of(schema), notation.end(name)
        head = sequence(literal(notation.before), key)
        if types is None or "string" in types:
            return sequence(head, _near(notation.text), self._text(schema, id, end, param, is_lax), WS)
        value_json = self._json(schema, id, param, is_lax)
        return sequence(head, _near(notation.json), value_json, NEW_LINE, Literal(end), WS)

    def _json(self, schema: Any, id: str, param: str, is_lax: bool) -> Expression:
        return self._grammar.add_part(f"value_{id}", schema_form(schema, param, is_lax))

    def _text(self, schema: Any, id: str, end: str, param: str, is_lax: bool) -> Expression:
        """Return the rule for a text that ends before a mark, and the mark."""
        values = _texts(schema)
        if values is not None:
            space = (NEW_LINE,) if isinstance(self._notation, TaggedArguments) else ()
            return self._grammar.define(f"text_{id}", sequence(choice(map(Literal, values)), *space, Literal(end)))
        keywords: Set[str] = frozenset()
        if isinstance(schema, Mapping) and types_of(schema) == {"string"}:
            keywords = schema.keys() & TEXTUAL
        any_text = ANY
        if keywords and not is_lax:
            if odd := sorted(keywords - LENGTHS):
                raise _refusal(f"{param}.{odd[0]}")
            least, most = schema.get("minLength", 0), schema.get("maxLength", "")
            any_text = self._grammar.define(f"TEXT_{id}", Regex(f"(.|\\n){{{least},{most}}}"))
        return self._grammar.define(f"text_{id}", sequence(any_text, Literal(end)), is_lazy=True)

    def _quoted(self, schema: Any, id: str, param: str, is_lax: bool) -> Expression:
        """Return the expression for a value whose texts stand in quotes of their own."""
        assert isinstance(self._notation, PairedArguments)
        types, quote = types_of(schema), self._notation.quote
        if types == {"string"}:
            return sequence(Literal(quote), self._text(schema, id, quote, param, is_lax))
        if types is not None and types <= {"integer", "number", "boolean", "null"}:
            return self._json(schema, id, param, is_lax)
        if types == {"array"} and not is_lax and (odd := sorted(set(schema) & LISTS)):
            raise _refusal(f"{param}.{odd[0]}")
        if types == {"array"} and isinstance(schema.get("items"), Mapping):
            items = _with_definitions(schema["items"], schema)
            item = self._grammar.define(f"item_{id}", self._quoted(items, f"{id}_i", f"{param}.items", is_lax))
            return _list_of(*_repeated(item, schema))
        if types == {"object"}:
            return sequence(Literal("{"), self._object(f"{id}_o", schema, param, is_lax), Literal("}"))
        if not is_lax and schema:
            raise _refusal(param)
        return ANY_VALUE

    def _define_any_value(self, quote: str) -> None:
        rest = self._grammar.define("any_text_rest", sequence(ANY, Literal(quote)), is_lazy=True)
        self._grammar.define(ANY_TEXT.name, sequence(Literal(quote), rest))
        words = (Literal(word) for word in ("true", "false", "null"))
        listed = sequence(ANY_VALUE, Repeat(sequence(COMMA, ANY_VALUE)))
        pair = sequence(KEY, COLON, ANY_VALUE)
        pairs = sequence(Literal("{"), optional(sequence(pair, Repeat(sequence(COMMA, pair)))), Literal("}"))
        kinds = (ANY_TEXT, Name("QUOTED_NUMBER"), *words, _list_of(optional(listed)), pairs)
        self._grammar.define(ANY_VALUE.name, choice(kinds))


def _near(text: str) -> Expression:
    """Return the expression for the text before a value, around which one new line may stand and nothing else."""
    return sequence(literal(text.removesuffix("\n")), NEW_LINE)


def _list_of(*items: Expression) -> Expression:
    return sequence(Literal("["), *items, Literal("]"))


def _repeated(item: Expression, schema: Mapping[str, Any]) -> tuple[Expression, ...]:
    """Return the expression for a list's items, with commas between them, as many as a schema allows."""
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if most == 0:
        return ()
    more = Repeat(sequence(COMMA, item), max(least - 1, 0), None if most is None else most - 1)
    items = sequence(item, more)
    return (optional(items) if least == 0 else items,)


def _ordered(schema: dict[str, Any], order: tuple[str, ...]) -> dict[str, Any]:
    """Put the arguments in the order that is wanted."""
    properties = schema.get("properties")
    if not order or not isinstance(properties, Mapping):
        return schema
    first = [name for name in order if name in properties]
    rest = sorted(name for name in properties if name not in first)
    return {**schema, "properties": {name: properties[name] for name in (*first, *rest)}}


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
