"""What may be reached for whoever has named a reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localai_flask.machine import choose_budget, total_memory
from localai_flask.settings import Settings


@dataclass(frozen=True)
class Access:
    """What a look-up may do, and what it has to know of this machine."""

    models_path: Path
    offline: bool = False
    private_addresses: bool = False
    """Whether addresses of this machine and of private networks may be asked."""
    pickles: bool = False
    """Whether files are taken that may run code when they are read."""
    memory: int = 0
    """Bytes that a model may take; 0 if nobody knows."""

    force: bool = False
    """Whether a model is fetched that cannot run on this machine."""

    @classmethod
    def of_operator(cls, settings: Settings, *, pickles: bool = False, force: bool = False) -> Access:
        """What the command line, the settings and the YAML in the models folder may do."""
        return cls(settings.models_path, settings.offline, True, pickles, memory_for_models(settings), force)

    @classmethod
    def of_client(cls, settings: Settings, *, pickles: bool = False, force: bool = False) -> Access:
        """What requests and galleries may do."""
        private = settings.fetch_private_addresses
        return cls(settings.models_path, settings.offline, private, pickles, memory_for_models(settings), force)


def memory_for_models(settings: Settings) -> int:
    """Return how many bytes models may take on this machine; 0 if there is a GPU, or nobody knows."""
    return choose_budget(settings.memory_budget, total_memory()) or 0
