"""Which files of a hub's repository make a model: GGUF files, or a folder as transformers loads it.

Safetensors are taken before pickles, which may run code when they are read.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath
from typing import NamedTuple

from localai_flask.config.model_yaml.downloads import LAST_OF_FOLDER
from localai_flask.config.references.reference import Reference
from localai_flask.gallery.errors import NotOffered
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.quantizations import Variant, choose, choose_projector, list_variants, parts_of

_DESCRIBING = re.compile(
    r"(?:[^/]*config[^/]*|modules|tokenizer[^/]*|vocab|added_tokens|special_tokens_map|chat_template[^/]*)\.json"
    r"|(?:merges|vocab)\.txt|(?:tokenizer|spiece|sentencepiece\.bpe)\.model|[^/]*\.(?:jinja|tiktoken)"
    r"|LICENSE[^/]*|\d+_[A-Za-z]+/config\.json|additional_chat_templates/[^/]*\.jinja",
)
_WEIGHTS = re.compile(r"model(?:-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json")
_LAYER = re.compile(r"\d+_[A-Za-z]+/model\.safetensors")
"""A layer behind the model proper, as sentence-transformers keeps them."""
_PICKLED = re.compile(r"pytorch_model(?:-\d+-of-\d+)?\.bin(?:\.index\.json)?")


class Selection(NamedTuple):
    """Files of a repository by their paths there, the first being the model's if it is one file."""

    paths: list[str]
    mmproj: str | None
    is_folder: bool
    note: str


def select(reference: Reference, sizes: dict[str, int], access: Access) -> Selection:
    """Choose what a reference means among a repository's files; raise `NotOffered` with what there is.

    Pickles are chosen where there is nothing else; `look_up` refuses them unless they are trusted.
    """
    if reference.path:
        return _select_file(reference, sizes)
    variants = list_variants(sizes)
    if variants or reference.quantization:
        return _select_variant(reference, variants, sizes, access)
    return _select_folder(reference, sizes)


def _select_file(reference: Reference, sizes: dict[str, int]) -> Selection:
    path = reference.path
    if path not in sizes:
        near = [each for each in sizes if each.lower().endswith(PurePosixPath(path).suffix.lower() or "\0")]
        raise NotOffered(f"{reference.repo} has no file {path}{_among(near)}.")
    paths = parts_of(path, sizes)
    is_gguf = path.lower().endswith(".gguf") and "mmproj" not in PurePosixPath(path).name.lower()
    mmproj = choose_projector(sizes, path) if is_gguf else None
    note = f"it comes in {len(paths)} parts" if len(paths) > 1 else ""
    return Selection(paths, mmproj, False, note)


def _select_variant(reference: Reference, variants: list[Variant], sizes: dict[str, int], access: Access) -> Selection:
    found = choose(variants, reference.quantization, access.memory)
    if found is None:
        raise NotOffered(
            f"{reference.repo} has no quantization {reference.quantization}"
            f"{_among({each.label or each.stem for each in variants})}."
        )
    variant, why = found
    mmproj = choose_projector(sizes, variant.paths[0])
    return Selection(list(variant.paths), mmproj, False, f"{variant.label or variant.stem}: {why}")


def _select_folder(reference: Reference, sizes: dict[str, int]) -> Selection:
    if "adapter_config.json" in sizes:
        raise NotOffered(f"{reference.repo} is an adapter and no whole model; get the model it belongs to.")
    if LAST_OF_FOLDER not in sizes:
        raise NotOffered(f"{reference.repo} has neither GGUF files nor a config.json, so it is no model to run.")
    weights = [path for path in sizes if _WEIGHTS.fullmatch(path) or _LAYER.fullmatch(path)]
    note = "as a folder for transformers"
    if not any(path.endswith(".safetensors") for path in weights):
        weights = [path for path in sizes if _PICKLED.fullmatch(path)]
        note = "pickled weights, as the configuration trusts them"
    if not weights:
        raise NotOffered(
            f"{reference.repo} has no weights in a form that this server runs (GGUF or model.safetensors)."
        )
    described = [path for path in sizes if _DESCRIBING.fullmatch(path) and path not in weights]
    rest = [path for path in (*sorted(described), *sorted(weights)) if path != LAST_OF_FOLDER]
    return Selection([*rest, LAST_OF_FOLDER], None, True, note)


def _among(names: Collection[str]) -> str:
    shown = sorted(names)[:12]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return f"; there are: {', '.join(shown)}{more}" if shown else ""
