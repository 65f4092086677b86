"""A model's folder before its weights are read: what the YAML asks, whether all files are there, its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.hugging_face.folder import about, find_folder
from localai_flask.backends.notes import heed
from localai_flask.backends.transformers import key_checks
from localai_flask.backends.transformers.loading.failures import LIBRARY, UNREADABLE, load_failure, needs_code
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed

READ_BYTES = 64 << 20
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")


def check_config(config: EngineConfig) -> None:
    """Log what has no effect; refuse by name what this engine cannot honour."""
    heed(key_checks.check(config), config)


def check_folder(config: EngineConfig) -> Path:
    """Find the folder and see that it holds a model which the library knows."""
    folder = find_folder(config)
    described = read_json(folder / "config.json")
    kind = described.get("model_type")
    if not isinstance(kind, str):
        raise ModelLoadFailed(f"{about(config)} finds no model_type in {folder}/config.json; download it again.")
    if kind not in CONFIG_MAPPING and not config.trust_remote_code:
        if "auto_map" in described:
            raise needs_code(config)
        raise ModelLoadFailed(
            f"{LIBRARY} does not know the architecture {kind!r}; use another model, or upgrade the package."
        )
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise ModelLoadFailed(f"{about(config)} finds no tokenizer in {folder}; add the model's {TOKENIZER_FILES[0]}.")
    if not config.trust_pickles and not any(folder.glob("*.safetensors")) and any(folder.glob("*.bin")):
        raise ConfigError(
            f"{about(config)} finds no .safetensors in {folder}, only pickles, which may run code when they are read; "
            "download the safetensors, or set `trust_pickles: true` if you trust where the model comes from.",
            param="trust_pickles",
        )
    return folder


def prepare(config: EngineConfig, folder: Path, progress: LoadProgress) -> None:
    """Set the library up, and bring the weights into the page cache."""
    if config.threads:
        torch.set_num_threads(config.threads)
    transformers.utils.logging.disable_progress_bar()
    read_ahead(folder, progress)


def read_ahead(folder: Path, progress: LoadProgress) -> None:
    """Bring the weights into the page cache: that can take minutes, in which the library itself tells nothing."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    total, done = sum(path.stat().st_size for path in files), 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(READ_BYTES):
                done += len(chunk)
                progress(0.8 * done / total)


def read_tokenizer(config: EngineConfig, folder: Path) -> Any:
    """Read the tokenizer; raise `ModelLoadFailed` if the library cannot, `ConfigError` if its code is not trusted."""
    try:
        return transformers.AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=config.trust_remote_code
        )
    except UNREADABLE as error:
        raise load_failure(config, f"cannot read the tokenizer in {folder}", error) from error
