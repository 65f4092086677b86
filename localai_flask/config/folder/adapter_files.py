"""The files of LoRA adapters: where they may lie, and for which models they were made, as far as both say it."""

from __future__ import annotations

from pathlib import Path

from localai_flask.config import traits
from localai_flask.config.engines.facts import facts
from localai_flask.config.files.bounded import read_json
from localai_flask.config.files.gguf import inspect
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml.paths import LEADS_OUT, leads_out
from localai_flask.errors import ConfigError, InvalidRequest, NotFound

PEFT = "adapter_config.json"
"""What a folder holds that is an adapter in PEFT's form."""


def within(path: str, folder: Path) -> str:
    """Return an adapter's path from the models folder on; raise `InvalidRequest` for one that lies elsewhere."""
    name = path
    if Path(path).is_absolute() and Path(path).is_relative_to(folder):
        name = str(Path(path).relative_to(folder))
    if leads_out(name):
        raise InvalidRequest(f"`lora_path` {LEADS_OUT.format(name=path)}.", param="lora_path")
    return name


def check_fits(path: Path, parent: ModelConfig) -> None:
    """Raise `NotFound` or `InvalidRequest` if there is no adapter at a path, or one for another kind of model."""
    if not _exists(path):
        raise NotFound(f"There is no adapter {path}; put it there, or correct `lora_path`.")
    if not facts(parent.backend).adapts:
        raise InvalidRequest(
            f"The model {parent.name!r} runs with the {parent.backend} backend, which takes no adapters of requests; "
            "choose a model of llama-cpp or vllm.",
            param="base_model_name",
        )
    if not is_made_for(path, parent):
        raise InvalidRequest(f"{path} is no LoRA adapter for the model {parent.name!r}.", param="lora_path")


def is_made_for(path: Path, parent: ModelConfig) -> bool:
    """Return whether a file or folder is an adapter in the form that a model's engine reads, for its architecture."""
    try:
        if facts(parent.backend).files == "folder":
            return bool(read_json(path / PEFT).get("peft_type"))
        found, model = inspect(path), traits.read_header(parent.model_path)
    except ConfigError:
        return False
    return found.kind == "adapter" and (model is None or found.architecture == model.architecture)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # such as a name that is longer than any file's
        return False
