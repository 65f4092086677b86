"""Paths of keys inside YAML: ("download_files", 0, "filename"), shown as `download_files[0].filename`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

KeyPath = tuple[Any, ...]


def dotted(path: KeyPath) -> str:
    """Write a path as people read it."""
    text = ""
    for part in path:
        if text:
            text += f"[{part}]" if isinstance(part, int) else f".{part}"
        else:
            text = str(part)
    return text


def general(path: KeyPath) -> str:
    """Write a path for all items of a list alike: `download_files[].filename`."""
    return "".join("[]" if isinstance(part, int) and i else f".{part}" for i, part in enumerate(path))[1:]


def values_at(content: Any, pattern: str) -> Iterator[tuple[KeyPath, Any]]:
    """Find what stands at a general path; nothing where the mapping has another shape."""
    found: list[tuple[KeyPath, Any]] = [((), content)]
    for name in pattern.split("."):
        key = name.removesuffix("[]")
        found = [((*path, key), value[key]) for path, value in found if isinstance(value, dict) and key in value]
        if name.endswith("[]"):
            lists = [(path, [value] if isinstance(value, str) else value) for path, value in found]
            found = [((*p, i), item) for p, items in lists if isinstance(items, list) for i, item in enumerate(items)]
    yield from found


def without(content: Any, path: KeyPath) -> Any:
    """Copy a mapping or list without what stands at a path; what is not on the way is shared."""
    key, *rest = path
    if isinstance(content, dict):
        kept = {name: value for name, value in content.items() if name != key or rest}
        if rest:
            kept[key] = without(kept[key], tuple(rest))
        return kept
    if isinstance(content, list):
        changed = [without(content[key], tuple(rest))] if rest else []
        return [*content[:key], *changed, *content[key + 1 :]]
    return None  # one text stood for a list of one
