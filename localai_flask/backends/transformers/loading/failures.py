"""How what is wrong with a model is said: one sentence with the library's own words."""

from __future__ import annotations

import transformers
from safetensors import SafetensorError  # type: ignore[import-not-found]

from localai_flask.config.model import EngineConfig

LIBRARY = f"transformers {transformers.__version__}"
UNREADABLE = (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError, SafetensorError)
"""What the library raises about folders that it cannot make a model of."""


def about(config: EngineConfig) -> str:
    return f"Model {config.name}: the transformers backend"


def first_line(error: BaseException) -> str:
    """Shorten what the library says about a failure."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
