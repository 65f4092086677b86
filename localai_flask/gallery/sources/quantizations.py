"""Which of a repository's GGUF files to take: what their names say, and what fits into this machine's memory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from localai_flask.config.files.settling import PART
from localai_flask.gallery.progress import gigabytes

PREFERRED = (
    *("Q4_K_M", "Q4_K_XL", "Q4_K_S", "Q4_K_L", "MXFP4", "MXFP4_MOE", "IQ4_XS", "IQ4_NL", "Q4_0", "Q4_1", "Q4_K"),
    *("Q5_K_M", "Q5_K_XL", "Q5_K_S", "Q5_K_L", "Q5_0", "Q5_1", "Q6_K", "Q6_K_L", "Q6_K_XL", "Q8_0", "Q8_K_XL"),
    *("Q3_K_M", "Q3_K_L", "Q3_K_XL", "Q3_K_S", "IQ3_M", "IQ3_S", "IQ3_XS", "IQ3_XXS"),
    *("Q2_K", "Q2_K_L", "Q2_K_XL", "IQ2_M", "IQ2_S", "IQ2_XS", "IQ2_XXS", "TQ2_0", "TQ1_0", "IQ1_M", "IQ1_S"),
    *("BF16", "F16", "FP16", "F32", "FP32"),
)
"""From the first on: Q4_K_M loses little and is what llama.cpp, Ollama and LocalAI take where nobody says more."""
PROJECTORS = ("F16", "FP16", "BF16", "Q8_0", "F32", "FP32")
"""The same for projectors, which are small and lose more."""
ROOM = 0.9
"""How much of the memory the weights may take: the KV cache and the rest of the server want some too."""

_LABEL = re.compile(
    r"(?:^|[-._/])((?:I?Q[1-8](?:_[0-9A-Z]+){0,2}|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))(?=$|[-._/])",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"mmproj|imatrix|ggml-vocab|(?:^|[-._/])(?:lora|adapter|draft|mtp)(?:[-._]|$)", re.IGNORECASE)
_PROJECTOR = re.compile(r"mmproj[^/]*\.gguf$", re.IGNORECASE)


class Variant(NamedTuple):
    """One quantization of a model: a file, or all parts of one."""

    paths: tuple[str, ...]
    label: str
    """Such as Q4_K_M; "" if the name says nothing."""
    size: int

    @property
    def stem(self) -> str:
        stem = PurePosixPath(self.paths[0]).stem
        return re.sub(r"-\d+-of-\d+$", "", stem)


def find_label(path: str) -> str:
    """Return the quantization that a path names last, as folders name it too."""
    found = _LABEL.findall(re.sub(r"(-\d+-of-\d+)?\.gguf$", "", path, flags=re.IGNORECASE))
    return found[-1].upper() if found else ""


def list_variants(sizes: dict[str, int]) -> list[Variant]:
    """Group the GGUF files of a repository, given by path, into models; one that lacks a part is left out."""
    groups: dict[tuple[str, str], list[str]] = {}
    for path in sorted(path for path in sizes if path.lower().endswith(".gguf") and not _NO_MODEL.search(path)):
        split = PART.fullmatch(path)
        groups.setdefault((split[1], split[3]) if split else (path, ""), []).append(path)
    return [
        Variant(tuple(paths), find_label(paths[0]), sum(sizes[path] for path in paths))
        for (_, count), paths in groups.items()
        if not count or len(paths) == int(count)
    ]


def parts_of(path: str, all_paths: Iterable[str]) -> list[str]:
    """Return the path and the other parts of the same split file, in their order."""
    split = PART.fullmatch(path)
    if split is None:
        return [path]
    others = (found for each in all_paths if (found := PART.fullmatch(each)))
    return sorted(found[0] for found in others if (found[1], found[3]) == (split[1], split[3]))


def choose(variants: Sequence[Variant], wanted: str, memory: int) -> tuple[Variant, str] | None:
    """Choose the variant of a wanted quantization, or else the best one that fits; say why. None: there is none.

    Without a bound the order of `PREFERRED` decides. `memory` is in bytes, 0 if nobody knows.
    """
    if wanted:
        named = [each for each in variants if _is_called(each, wanted)]
        return (min(named, key=_plainness), "as asked for") if named else None
    if not variants:
        return None
    best = min(variants, key=_rank)
    if not memory or best.size <= memory * ROOM:
        why = "the only one" if len(variants) == 1 else f"the usual choice among {_listed(variants)}"
        return best, why
    fitting = [each for each in variants if each.size <= memory * ROOM]
    chosen = max(fitting, key=lambda each: (each.size, -_rank(each)[0])) if fitting else min(variants, key=_size)
    which = "the largest that fits into" if fitting else "the smallest, though too large for"
    return chosen, f"{which} {gigabytes(memory)} of memory, as {best.label or best.stem} has {gigabytes(best.size)}"


def choose_projector(paths: Iterable[str], beside: str) -> str | None:
    """Choose the projector that comes with a model, from its folder if there is one there."""
    found = [path for path in paths if _PROJECTOR.search(path)]
    folder = PurePosixPath(beside).parent
    near = [path for path in found if PurePosixPath(path).parent == folder] or found
    return min(near, key=lambda path: (_index(PROJECTORS, find_label(path)), len(path), path), default=None)


def _is_called(variant: Variant, wanted: str) -> bool:
    """Return whether a quantization is meant, also one that is a longer name, as in UD-Q4_K_XL."""
    name = variant.paths[0].upper()
    return variant.label == wanted or bool(re.search(rf"(^|[-._/]){re.escape(wanted)}($|[-._/])", name))


def _plainness(variant: Variant) -> tuple[int, int, str]:
    return variant.label != "", len(variant.paths[0]), variant.paths[0]


def _rank(variant: Variant) -> tuple[int, int, str]:
    return _index(PREFERRED, variant.label), len(variant.paths[0]), variant.paths[0]


def _index(order: Sequence[str], label: str) -> int:
    return order.index(label) if label in order else len(order)


def _size(variant: Variant) -> int:
    return variant.size


def _listed(variants: Sequence[Variant]) -> str:
    labels = sorted({each.label or each.stem for each in variants}, key=lambda label: _index(PREFERRED, label))
    return ", ".join(labels)
