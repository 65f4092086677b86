"""What may be reached for whoever has named a reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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

    @classmethod
    def of_operator(cls, settings: Settings, *, memory: int = 0) -> Access:
        """What the command line, the settings and the YAML in the models folder may do."""
        return cls(settings.models_path, settings.offline, private_addresses=True, memory=memory)

    @classmethod
    def of_client(cls, settings: Settings, *, memory: int = 0) -> Access:
        """What requests and galleries may do."""
        return cls(settings.models_path, settings.offline, settings.fetch_private_addresses, memory=memory)
