"""What a key stands for: a name, and what its holder may do. The secret itself is never kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class Key:
    """One caller."""

    name: str
    models: tuple[str, ...] = ("*",)
    """Patterns of the names of models that the key may use, as a shell has them."""
    admin: bool = False
    max_requests: int = 0
    """How many requests may work on models for this key at once (0: any number)."""
    priority: int = 0
    """As vLLM has it: of requests that wait for one model, those with the lowest number are served first."""
    keeper: str = ""
    """Who owns what requests with this key store; "" is open to all."""

    def may_use(self, model: str) -> bool:
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    @property
    def model_filter(self) -> Callable[[str], bool] | None:
        """`may_use`, or None if all models may be used."""
        return None if "*" in self.models else self.may_use


ANYONE = Key("", admin=True)
"""Whoever calls a server without keys, and work that has no caller any more."""
