"""Names of models as Ollama's clients know them: with a tag, which is `latest` where there is none."""

from __future__ import annotations

from localai_flask.config.folder.naming import LATEST


def tagged(name: str) -> str:
    """Return a model's name with its tag."""
    return name if ":" in name.rpartition("/")[2] else name + LATEST


def untagged(name: str) -> str:
    """Return the name of a model that is to be made."""
    return name.strip().removesuffix(LATEST)
