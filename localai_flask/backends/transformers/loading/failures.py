"""How what is wrong with a model is said: one sentence with the library's own words."""

from __future__ import annotations

import transformers
from safetensors import SafetensorError  # type: ignore[import-not-found]

from localai_flask.backends.hugging_face.folder import about
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed

LIBRARY = f"transformers {transformers.__version__}"
UNREADABLE = (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError, SafetensorError)
"""What the library raises about folders that it cannot make a model of."""


def first_line(error: BaseException) -> str:
    """Shorten what the library says about a failure."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_failure(config: EngineConfig, what: str, error: BaseException) -> ConfigError | ModelLoadFailed:
    """Return the error for what the library raised; `what` could not be done."""
    if "trust_remote_code" in str(error):
        return needs_code(config)
    if isinstance(error, ImportError):
        said = " ".join(str(error).split())
        return ModelLoadFailed(f"{about(config)} {what}, as a package is missing: {said[:300]}")
    return ModelLoadFailed(f"{about(config)} {what}: {first_line(error)}")


def needs_code(config: EngineConfig) -> ConfigError:
    """Return the error for a model that comes with code of its own, which may not run."""
    return ConfigError(
        f"{about(config)} would have to run code that comes with the model in {config.model_path}, as the library does "
        "not know its architecture or tokenizer; if you trust that code, set `trust_remote_code: true`.",
        param="trust_remote_code",
    )
