"""Samples of the types that clients' packages declare: each with its required keys, and one for each way to differ."""

from __future__ import annotations

import collections.abc
import types
import typing
from collections.abc import Iterator
from typing import Any, Union

import typing_extensions
from typing_extensions import is_typeddict

DEEPEST = 5


def samples(kind: Any, depth: int = 0) -> Iterator[Any]:
    """Yield values of a type: of a union those of each arm, of a dictionary one for each value of each of its keys."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if is_typeddict(kind):
        yield from _dictionaries(kind, depth)
    elif origin in (Union, types.UnionType):
        for argument in arguments:
            if argument is not type(None):
                yield from samples(argument, depth)
    elif origin is typing_extensions.Annotated:
        yield from samples(arguments[0], depth)
    elif origin is typing.Literal:
        yield arguments[0]
    elif origin in (list, collections.abc.Iterable, collections.abc.Sequence) or "SequenceNotStr" in str(origin):
        for value in samples(arguments[0], depth + 1):
            yield [value]
    elif origin is dict or kind is dict:
        yield {}
    elif kind in (str, int, float, bool):
        yield {str: "word", int: 1, float: 1.0, bool: True}[kind]
    elif kind in (object, Any):
        yield {"a": "word"}
    else:
        return  # a model of pydantic, which is what clients get and not what they send; a file; a time


def _dictionaries(kind: Any, depth: int) -> Iterator[dict[str, Any]]:
    hints = typing_extensions.get_type_hints(kind)
    # The packages' annotations are texts, which the class's own list of required keys has not looked into.
    marked = typing_extensions.get_type_hints(kind, include_extras=True)
    required = {key for key, hint in marked.items() if typing.get_origin(hint) is typing_extensions.Required}
    if depth > DEEPEST:
        return
    values = {key: list(samples(hint, depth + 1)) for key, hint in hints.items()}
    base = {key: values[key][0] for key in hints if key in required and values[key]}
    yield base
    for key in hints:
        for value in values[key][1 if key in base else 0 :]:
            yield {**base, key: value}
