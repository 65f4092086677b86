"""One model's `options:` against the table: typed values, or one sentence about the first that is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from localai_flask.backends.llama_cpp.option_table import BY_NAME, OPTIONS, Option
from localai_flask.errors import ConfigError


def read_entries(entries: Iterable[str], model: str) -> dict[str, Any]:
    """Read `name:value` entries (a bare name means true; the last of several wins) into values by their fields.

    Holds the fields that were given; `defaults` has the others. Raises `ConfigError` naming the option.
    """
    values: dict[str, Any] = {}
    for entry in entries:
        name, _, text = (part.strip() for part in entry.partition(":"))
        option = _find(name, model)
        if option.refused:
            raise complain(model, f"the option {name!r} is not supported, as {option.refused}; remove it")
        try:
            values[option.field] = option.kind.read(text or "true")
        except ValueError as error:
            raise complain(model, f"the option {name}:{text or 'true'} {error}") from None
    return values


def defaults() -> dict[str, Any]:
    """Give every option's default by its field."""
    return {option.field: option.default for option in OPTIONS}


def complain(model: str, complaint: str, param: str = "options") -> ConfigError:
    """Make the error for one model's YAML."""
    return ConfigError(f"Model {model}: {complaint}{'' if complaint.endswith('?') else '.'}", param=param)


def _find(name: str, model: str) -> Option:
    """Look an option up; the flags of llama.cpp's own server are taken where they have the name of an option."""
    plain = name.lstrip("-").replace("-", "_") if name.startswith("-") else name
    option = BY_NAME.get(plain)
    if option is not None:
        return option
    near = get_close_matches(plain, BY_NAME, n=1)
    raise complain(
        model,
        f"the llama-cpp backend has no option {name!r}{f'; did you mean {near[0]!r}?' if near else '; remove it'}",
    )
