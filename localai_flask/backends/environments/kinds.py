"""The environments that can be installed, and the model with which each is tried."""

from __future__ import annotations

from typing import NamedTuple

_SAMPLES = "localai_flask.backends.environments.samples"


class Kind(NamedTuple):
    """The engine that an environment is for, and the module that makes a tiny model for it (samples/__init__.py)."""

    engine: str
    sample: str


KINDS = {
    "transformers": Kind("transformers", f"{_SAMPLES}.llama_folder"),
}
