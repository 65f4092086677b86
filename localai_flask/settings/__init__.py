"""Server-wide settings: flag, environment variable, type, default and help of each, declared once.

The `localai-flask` command makes its options from this list, gunicorn.conf.py and the processes behind it read the same
values back from the environment, and the docs page is printed from it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localai_flask.address import OLLAMA_PORT, Address
from localai_flask.settings.fields import env_name, parse, read, render
from localai_flask.settings.models import ModelSettings
from localai_flask.settings.pool import PoolSettings
from localai_flask.settings.serving import ServingSettings
from localai_flask.user_folders import data_folder

HIDDEN = "…"


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings(PoolSettings, ServingSettings, ModelSettings):
    """Everything that is configured for the whole server rather than for one model."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read every setting from its variable, an empty one as if it were not set.

        Raises `ValueError` naming a variable that does not parse.
        """
        values = {}
        for field in dataclasses.fields(cls):
            if text := read(field, environment):
                values[field.name] = parse(field, text)
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """Render every setting as its variable, defaults too, so that they replace what an environment has."""
        return {env_name(field): render(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def __repr__(self) -> str:
        changed = ((f, getattr(self, f.name)) for f in dataclasses.fields(self))
        shown = (f"{f.name}={HIDDEN if f.metadata['secret'] else repr(v)}" for f, v in changed if v != f.default)
        return f"Settings({', '.join(shown)})"

    @property
    def keys_file(self) -> Path | None:
        """The file of keys: the one that is named, else LocalAI's in the folder of configuration, if it is there."""
        if self.api_keys_file:
            return Path(self.api_keys_file)
        file = Path(self.config_dir) / "api_keys.json" if self.config_dir else None
        return file if file and file.exists() else None

    @property
    def backends_folder(self) -> Path:
        """The folder of environments: the one that is named, else this user's own."""
        return (Path(self.backends_path) if self.backends_path else data_folder() / "backends").absolute()

    @property
    def listening(self) -> Address:
        """The address to listen on."""
        return Address.parse(self.address)

    @property
    def addresses(self) -> list[Address]:
        """All addresses to listen on, the one that was named first."""
        named = self.listening
        second = Address(host=named.host if not named.path else "127.0.0.1", port=OLLAMA_PORT)
        return [named, second] if self.ollama and second != named else [named]
