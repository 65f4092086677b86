"""Keys of a model's YAML that this engine cannot honour, found without its library."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import structs

from localai_flask.backends.notes import Note
from localai_flask.backends.transformers import key_checks
from localai_flask.config.model import EngineConfig

STORED = ("", "gptq")
"""What `quantization` may say here: nothing that the folder does not say itself."""


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    if config.quantization not in STORED:
        said = f"the gptq backend runs weights as they are quantised, not with {config.quantization!r}; remove it"
        yield Note(("quantization",), said, is_fault=True)
    yield from key_checks.check(of_transformers(config))


def of_transformers(config: EngineConfig) -> EngineConfig:
    """Return a config without the keys that this engine reads itself."""
    return structs.replace(config, model_base_name="", quantization="")
