"""Values of the types that clients' packages declare for what they send, now and then with something wrong in them."""

from __future__ import annotations

import collections.abc
import functools
import types
import typing
from typing import Any, Union

import typing_extensions
from hypothesis import strategies as st
from typing_extensions import is_typeddict

from tests.support.mutated_requests import NASTY, SCHEMA

Strategy = st.SearchStrategy[Any]

MOST_KEYS = 4
"""Optional keys of an object: with all of them at once a request is refused for one, and nobody sees the others."""
ONE_IN = 25
"""How seldom a value is of another type than is declared."""
WORDS = [
    "tiny",
    "look",
    "c1",
    "hi",
    "resp_known",
    "auto",
    "low",
    "a\ud83d",
    "<think>",
    "{}",
    '{"place":"a"}',
    "data:,x",
]
TEXTS = st.one_of(st.sampled_from(WORDS), st.text(max_size=20))
NUMBERS = st.one_of(st.integers(1, 9), st.integers(-2, 40), st.sampled_from([2**31, 2**63, -(2**63), 10**30]))
FRACTIONS = st.one_of(st.floats(0, 1), st.floats(-2, 3), st.sampled_from([1e308, 1e-320, -0.0]))
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, FRACTIONS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
KEYWORDS = [
    "type",
    "properties",
    "items",
    "anyOf",
    "enum",
    "const",
    "pattern",
    "required",
    "$ref",
    "additionalProperties",
]
SCHEMAS = st.one_of(
    st.just(SCHEMA),
    st.recursive(
        st.sampled_from([{"type": "string"}, {"type": "integer"}, {"enum": ["a", 1, None]}, {}, {"$ref": "#"}]),
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from(["a", "b", "n"]), inner, max_size=3).map(
                lambda fields: {"type": "object", "properties": fields, "required": list(fields)}
            ),
            inner.map(lambda each: {"type": "array", "items": each}),
            st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each}),
        ),
        max_leaves=5,
    ),
    st.dictionaries(st.sampled_from(KEYWORDS), JUNK, max_size=3),
)
NAMED: dict[str, Strategy] = {
    "model": st.sampled_from(["tiny", "tiny", "tiny", "tiny", "other", ""]),
    "parameters": SCHEMAS,
    "input_schema": SCHEMAS,
    "schema": SCHEMAS,
    "arguments": st.sampled_from(["{}", '{"place":"a"}', '{"a":1 "b":2}', "", "null", "[1]"]),
    "background": st.sampled_from([False] * 30 + [True]),
    **dict.fromkeys(("max_tokens", "max_output_tokens", "max_completion_tokens"), st.sampled_from([1, 9, 9, 9, 2**40])),
    "n": st.sampled_from([1, 1, 2]),
    "timeout": st.sampled_from([None, 5, 0.5]),
}
"""Keys for which the type alone says too little: of most texts nothing comes but a refusal."""


@functools.cache
def values(kind: Any) -> Strategy:
    """Return a strategy for a type, as JSON has it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_typeddict(kind):
        return st.deferred(lambda: _objects(kind))
    if origin in (Union, types.UnionType):
        return st.one_of([found for each in arguments if not (found := values(each)).is_empty])
    if origin is typing_extensions.Annotated or origin is typing_extensions.Required:
        return values(arguments[0])
    if origin is typing.Literal:
        return st.sampled_from(list(arguments))
    if origin in (list, collections.abc.Iterable, collections.abc.Sequence) or "SequenceNotStr" in str(origin):
        return st.lists(values(arguments[0]), min_size=1, max_size=3)
    if origin is dict or kind is dict:
        return st.dictionaries(TEXTS, values(arguments[1]) if arguments else JUNK, max_size=3)
    plain = {str: TEXTS, int: NUMBERS, float: FRACTIONS, bool: st.booleans(), type(None): st.none()}
    return plain.get(kind, JUNK if kind in (object, Any) else st.nothing())


@functools.cache
def _keys(kind: Any) -> tuple[dict[str, Strategy], dict[str, Strategy]]:
    """Return the required and the optional keys of an object with their values."""
    # The packages' annotations are texts, which the class's own list of required keys has not looked into.
    marked = typing_extensions.get_type_hints(kind, include_extras=True)
    required, optional = {}, {}
    for key, hint in typing_extensions.get_type_hints(kind).items():
        is_required = typing.get_origin(marked[key]) is typing_extensions.Required
        found = NAMED.get(key, values(hint))
        if not found.is_empty:
            (required if is_required else optional)[key] = found
    return required, optional


@st.composite
def _objects(draw: Any, kind: Any) -> dict[str, Any]:
    required, optional = _keys(kind)
    chosen = dict(required)
    if optional:
        names = draw(st.lists(st.sampled_from(sorted(optional)), max_size=MOST_KEYS, unique=True))
        chosen |= {name: optional[name] for name in names}
    return {key: _spoilt(draw, strategy) for key, strategy in chosen.items()}


def _spoilt(draw: Any, strategy: Strategy) -> Any:
    is_wrong = draw(st.integers(1, ONE_IN)) == ONE_IN
    return draw(st.sampled_from(NASTY) if is_wrong else strategy)
