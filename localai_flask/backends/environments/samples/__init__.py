"""Tiny models with which a new environment is tried, each made by the engine's own libraries.

A module is run as `python -m MODULE FOLDER`, makes a model in that folder, and calls `describe`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "model.json"


def describe(folder: Path, **keys: Any) -> None:
    """Write how the model is to be loaded, in the keys of a model's YAML."""
    (folder / FILE).write_text(json.dumps(keys))
