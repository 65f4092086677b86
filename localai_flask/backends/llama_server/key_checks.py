"""Keys of a model's YAML that this engine cannot honour, found without its program."""

from __future__ import annotations

from collections.abc import Iterator

from localai_flask.backends.llama_server.flags import READ, check_entries
from localai_flask.backends.notes import Note, unread_keys
from localai_flask.config.model import EngineConfig


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    yield from unread_keys(config, config.backend, READ)
    yield from check_entries(config)
