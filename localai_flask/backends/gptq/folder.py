"""A quantised folder as the transformers library reads it, whoever has written it.

AutoGPTQ's folders may name the weights as they like (`model_base_name`) and describe them in `quantize_config.json`.
The library knows neither, and gets a folder of links to the same files under the names that it does know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from localai_flask.backends.hugging_face.folder import about
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

WEIGHTS, INDEX = ".safetensors", ".safetensors.index.json"
USUAL = "model"
"""The weights' base name that the library looks for."""
CONFIG, SETTINGS = "config.json", ("quantize_config.json", "quant_config.json")
METHOD = "gptq"


@contextmanager
def readable_folder(config: EngineConfig) -> Iterator[Path]:
    """Yield a folder that the library can read, for as long as it does; raise `ConfigError` if there can be none."""
    folder = config.model_path
    if not config.parameters.model or not (folder / CONFIG).exists():
        yield folder  # the library's engine says what is wrong with it
        return
    described = read_json(folder / CONFIG)
    settings = quantization_of(config, folder, described)
    base = base_name(config, folder)
    if base == USUAL and "quantization_config" in described:
        yield folder
        return
    with TemporaryDirectory(prefix="localai-flask-gptq-") as place:
        view = Path(place) / folder.name
        view.mkdir()
        _link(folder, view, base)
        (view / CONFIG).write_text(json.dumps(described | {"quantization_config": settings}))
        yield view


def _link(folder: Path, view: Path, base: str) -> None:
    """Link what a folder has, the weights of that name under the usual one."""
    usual = [f"{USUAL}{ending}" for ending in (WEIGHTS, INDEX)]
    for file in folder.iterdir():
        if file.name not in (CONFIG, *usual):
            (view / file.name).symlink_to(file.absolute())
    for ending, name in zip((WEIGHTS, INDEX), usual, strict=True):
        if (folder / f"{base}{ending}").exists():
            (view / name).symlink_to((folder / f"{base}{ending}").absolute())


def quantization_of(config: EngineConfig, folder: Path, described: dict[str, Any]) -> dict[str, Any]:
    """Return how the folder is quantised; raise `ConfigError` if it is not, or in another way."""
    stored = described.get("quantization_config")
    if not isinstance(stored, dict):
        files = [folder / name for name in SETTINGS if (folder / name).exists()]
        if not files:
            raise ConfigError(
                f"{about(config)} finds neither a `quantization_config` in {folder / CONFIG} nor {SETTINGS[0]}, so "
                "that the model is not quantised by GPTQ; use `backend: transformers`.",
                param="backend",
            )
        stored = {**read_json(files[0])}
    method = stored.get("quant_method") or METHOD
    if method != METHOD:
        raise ConfigError(
            f"{about(config)} finds a model in {folder} that is quantised by {method}; leave `backend` out, and what "
            "the folder says chooses one.",
            param="backend",
        )
    return {**stored, "quant_method": METHOD}


def base_name(config: EngineConfig, folder: Path) -> str:
    """Return what the weights are called, without their ending; raise `ConfigError` if that is not clear."""
    wanted = config.model_base_name.removesuffix(WEIGHTS)
    there = sorted(
        {file.name.removesuffix(INDEX) for file in folder.glob(f"*{INDEX}")}
        | {file.name.removesuffix(WEIGHTS) for file in folder.glob(f"*{WEIGHTS}") if "-of-" not in file.name}
    )
    if wanted:
        if wanted not in there:
            raise ConfigError(
                f"{about(config)} finds no {wanted}{WEIGHTS} in {folder}; it has: {', '.join(there) or 'none'}.",
                param="model_base_name",
            )
        return wanted
    if USUAL in there or not there:
        return USUAL  # without any, the library's engine says so
    if len(there) > 1:
        raise ConfigError(
            f"{about(config)} finds several weights in {folder}; choose one with `model_base_name`: "
            f"{', '.join(there)}.",
            param="model_base_name",
        )
    return there[0]
