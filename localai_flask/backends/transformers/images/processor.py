"""The library's processor of a folder, which makes of an image what its model's encoder reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

from localai_flask.backends.transformers.loading.failures import UNREADABLE, load_failure
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig

FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
"""Where a folder may name its processor."""
VIDEOS = "video_processor"


def read_processor(config: EngineConfig, folder: Path) -> Any:
    """Read the processor; raises `ModelLoadFailed` or `ConfigError` if the library cannot."""
    known = {"local_files_only": True, "trust_remote_code": config.trust_remote_code}
    try:
        try:
            return transformers.AutoProcessor.from_pretrained(folder, **known)
        except ImportError:
            if (cls := _class_without_video(folder)) is None:
                raise
            return cls.from_pretrained(folder, **known)
    except UNREADABLE as error:
        raise load_failure(config, f"cannot read how {folder} sees images", error) from error


def _class_without_video(folder: Path) -> Any:
    """Return the folder's class of processors without its part for videos, which alone needs torchvision."""
    said = [read_json(folder / name) for name in FILES if (folder / name).exists()]
    kind = read_json(folder / "config.json").get("model_type")
    name = next((each["processor_class"] for each in said if each.get("processor_class")), None)
    cls: Any = getattr(transformers, name or str(PROCESSOR_MAPPING_NAMES.get(kind)), None)
    names: list[str] = [] if cls is None else cls.get_attributes()
    if names[-1:] != [VIDEOS]:
        return None

    def make(own: Any, parts: list[Any], described: dict[str, Any], **more: Any) -> Any:
        return cls.from_args_and_dict.__func__(own, [*parts, None], described, **more)

    methods: dict[str, Any] = {"get_attributes": lambda _: names[:-1], "from_args_and_dict": make}
    return type(cls.__name__, (cls,), {name: classmethod(method) for name, method in methods.items()})
