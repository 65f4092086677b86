"""How a setting is declared, read from its environment variable, and written back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from localai_flask.sizes import read_seconds

PREFIX = "LOCALAI_"
URL = f"{PREFIX}URL"
"""The variable that names a running server to the commands that talk to one; no setting of a server."""
BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def setting(
    default: Any,
    help: str,
    *,
    metavar: str | None = None,
    env: str | None = None,
    also: str = "",
    minimum: int = 0,
    maximum: float = math.inf,
    check: Callable[[str], object] | None = None,
    secret: bool = False,
    needs_restart: bool = False,
) -> Any:
    """Declare one setting; `env` is the variable's name where it is not LOCALAI_ and the field's name.

    A number is at least `minimum` and at most `maximum`; `check` raises `ValueError` with the reason why a text, or one
    of several, cannot be used. A `secret` is not shown. Where it `needs_restart`, a reload
    (server/settings_reload.py) leaves it as it is. `also` names a variable of LocalAI's that counts where the other
    one is not set.
    """
    about: dict[str, Any] = {"help": help, "metavar": metavar, "env": env, "minimum": minimum, "maximum": maximum}
    about |= {"check": check, "secret": secret, "needs_restart": needs_restart, "also": also}
    return dataclasses.field(default=default, metadata=about)


def env_name(field: dataclasses.Field[Any]) -> str:
    return field.metadata["env"] or PREFIX + field.name.upper()


def read(field: dataclasses.Field[Any], environment: Mapping[str, str]) -> str:
    """Return what an environment says of a setting; "" if it says nothing."""
    return environment.get(env_name(field), "") or environment.get(field.metadata["also"], "")


def parse(field: dataclasses.Field[Any], text: str) -> Any:
    default: Any = field.default
    if isinstance(default, bool):
        if text.lower() not in BOOLEANS:
            raise ValueError(f"{env_name(field)}={text!r} is not a boolean; use true or false.")
        return BOOLEANS[text.lower()]
    if isinstance(default, int | float):
        return _parse_number(field, text)
    if isinstance(default, tuple):
        parts = tuple(part.strip() for part in text.split(",") if part.strip())
        _check(field, *parts)
        return parts
    _check(field, text)
    return type(default)(text)


def _check(field: dataclasses.Field[Any], *texts: str) -> None:
    for text in texts if field.metadata["check"] is not None else ():
        try:
            field.metadata["check"](text)
        except ValueError as error:
            raise ValueError(f"{env_name(field)}={text!r} cannot be used: {error}.") from None


def _parse_number(field: dataclasses.Field[Any], text: str) -> int | float:
    default: Any = field.default
    number = read_seconds(text) if isinstance(default, float) else _read_whole(text)
    if number is None:
        raise ValueError(f"{env_name(field)}={text!r} is not a number; its default is {default}.")
    minimum, maximum = field.metadata["minimum"], field.metadata["maximum"]
    if not minimum <= number <= maximum or number == math.inf:
        most = "" if maximum == math.inf else f", the most {maximum}"
        raise ValueError(
            f"{env_name(field)}={text!r} is out of range; the least is {minimum}{most}, the default {default}."
        )
    return number


def _read_whole(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def render(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
