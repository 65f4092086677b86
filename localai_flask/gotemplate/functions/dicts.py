"""sprig's functions on maps. Only `set`, `unset` and the merges change a map, which is never the caller's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localai_flask.gotemplate.budget import MAX_DEPTH, Budget
from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.text.printing import to_text
from localai_flask.gotemplate.values import Value, copied, sorted_items, too_deep, truth, type_name


def dict_(budget: Budget, *pairs: Any) -> dict[str, Value]:
    keys = [to_text(budget, key) for key in pairs[::2]]
    return dict(zip(keys, (*pairs[1::2], ""), strict=False))


def get(values: dict, key: str) -> Value:
    return values.get(key, "")


def set_(values: dict, key: str, value: Any) -> dict[str, Value]:
    values[key] = value
    return values


def unset(values: dict, key: str) -> dict[str, Value]:
    values.pop(key, None)
    return values


def has_key(values: dict, key: str) -> bool:
    return key in values


def pluck(key: str, *dicts: dict) -> list[Value]:
    return [values[key] for values in dicts if key in values]


def keys(budget: Budget, *dicts: dict) -> list[Value]:
    budget.spend(sum(map(len, dicts)))
    return [key for values in dicts for key in sorted(values)]


def values(budget: Budget, mapping: dict) -> list[Value]:
    budget.spend(len(mapping))
    return [value for _, value in sorted_items(mapping)]


def pick(mapping: dict, *names: str) -> dict[str, Value]:
    return {name: mapping[name] for name in names if name in mapping}


def omit(budget: Budget, mapping: dict, *names: str) -> dict[str, Value]:
    budget.spend(len(mapping))
    return {name: value for name, value in mapping.items() if name not in names}


def merge(budget: Budget, target: dict, *sources: dict) -> dict[str, Value]:
    """Fill what is missing or empty in the target."""
    for source in sources:
        _merge(budget, target, source, overwrites=False)
    return target


def merge_overwrite(budget: Budget, target: dict, *sources: dict) -> dict[str, Value]:
    """Put everything over what the target has."""
    for source in sources:
        _merge(budget, target, source, overwrites=True)
    return target


def _merge(budget: Budget, target: dict, source: dict, overwrites: bool, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise too_deep()
    budget.spend(len(source))
    for key, value in list(source.items()):
        is_taken = truth(target.get(key))
        if isinstance(value, dict) and is_taken:
            # A map never replaces another kind of value, nor is it replaced as a whole.
            if isinstance(target[key], dict):
                _merge(budget, target[key], value, overwrites, depth + 1)
        elif overwrites or (value is not None and not is_taken):
            target[key] = value


def dig(*path: Any) -> Value:
    """Follow keys into maps: `dig "a" "b" default map`."""
    if len(path) < 3:
        raise Fault("dig takes at least 3 arguments: keys, a default, and a map")
    *names, default, value = path
    for name in names:
        if not isinstance(value, dict) or not isinstance(name, str):
            raise Fault(f"dig follows strings into maps, and found a value of type {type_name(value)}")
        if name not in value:
            return default
        value = value[name]
    return value


def deep_copy(budget: Budget, value: Any) -> Value:
    return copied(budget, value)


TABLE: dict[str, Callable[..., Value]] = {
    "dict": dict_,
    "get": get,
    "set": set_,
    "unset": unset,
    "hasKey": has_key,
    "pluck": pluck,
    "keys": keys,
    "values": values,
    "pick": pick,
    "omit": omit,
    "merge": merge,
    "mustMerge": merge,
    "mergeOverwrite": merge_overwrite,
    "mustMergeOverwrite": merge_overwrite,
    "dig": dig,
    "deepCopy": deep_copy,
    "mustDeepCopy": deep_copy,
}
