"""Which of the files in a models folder is the projector of a model, by their names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

IS_PROJECTOR = re.compile(r"mmproj[^/]*$", re.IGNORECASE)
IS_LATER_PART = re.compile(r"-(?!0*1-)\d+-of-\d+\.gguf$", re.IGNORECASE)
_NOISE = re.compile(
    r"mmproj|model|gguf|text|ud|i1|imat(?:rix)?|(?:i?q|tq|mxfp|nvfp)\d\w*|b?f16|fp16|f32|fp32|of|\d{5}", re.IGNORECASE
)
"""What a name says beside the model's: how its numbers are stored, and which part it is."""
_PRECISIONS = ("f16", "bf16", "f32", "q8")
"""From the one to be taken first; 16 bits are what projectors are published with."""


def find_projector(model: str, files: Iterable[str]) -> str:
    """Return the projector that lies beside a model's file; "" if none does that is surely its own.

    That is one with the model's name, or one without a name where the folder holds no other model.
    """
    folder = PurePosixPath(model).parent
    beside = [name for name in files if PurePosixPath(name).parent == folder]
    projectors = [name for name in beside if IS_PROJECTOR.search(name)]
    others = [name for name in beside if not (IS_PROJECTOR.search(name) or IS_LATER_PART.search(name))]
    wanted = _words(model)
    own = [name for name in projectors if _words(name) == wanted]
    if not own and all(_words(name) == wanted for name in others):
        own = [name for name in projectors if not _words(name) or len(projectors) == 1]
    return min(own, key=_rank, default="")


def _words(name: str) -> list[str]:
    stem = PurePosixPath(name).name.lower().removesuffix(".gguf")
    return [word for word in re.split(r"[-.\s]+", stem) if word and not _NOISE.fullmatch(word)]


def _rank(name: str) -> tuple[int, str]:
    low = PurePosixPath(name).name.lower()
    return next((at for at, each in enumerate(_PRECISIONS) if re.search(rf"(?<![a-z]){each}", low)), 9), name
