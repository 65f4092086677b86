"""From a folder to a model that generates; knows no request."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.hugging_face.description import Description
from localai_flask.backends.hugging_face.folder import find_folder
from localai_flask.backends.hugging_face.tokenizer_file import FolderTokenizer, read_tokenizer
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.backends.notes import heed
from localai_flask.backends.openvino import key_checks
from localai_flask.backends.openvino.export import SHARE, ensure_exported
from localai_flask.backends.openvino.forms import FormTrial
from localai_flask.backends.openvino.pipeline import (
    CacheSize,
    choose_device,
    device_properties,
    make_pipeline,
    size_cache,
)
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.generation import ModelInfo

if TYPE_CHECKING:
    from openvino_genai import ContinuousBatchingPipeline

READ_BYTES = 64 << 20
READ_SHARE = 0.97
"""How much of the progress is that the weights lie in memory, behind what an export takes."""
VOCABULARY = "openvino_detokenizer.xml"
"""What the library reads the vocabulary from, for forms; older exports lack it."""


@dataclass(frozen=True)
class LoadedModel:
    pipeline: ContinuousBatchingPipeline
    tokens: Tokens
    cache: CacheSize
    trial: FormTrial | None
    """None: the folder has no vocabulary that the library can read, so that no form can be asked for."""
    info: ModelInfo


def load_model(config: EngineConfig, progress: LoadProgress) -> LoadedModel:
    """Read everything that the folder holds.

    Raises `ConfigError` if YAML and folder do not fit together, `ModelLoadFailed` if the library cannot use the folder.
    """
    heed(key_checks.check(config), config)
    device, properties = choose_device(config), device_properties(config)
    source = find_folder(config)
    folder = ensure_exported(config, source, progress)
    description, trained = Description(folder), read_snapshot(folder).trained_context
    tokenizer = read_tokenizer(config, folder)
    cache = size_cache(config, description, trained, properties, device)
    read_ahead(folder, progress)
    pipeline = make_pipeline(config, folder, cache, properties, device)
    ends = {*description.end_tokens, *filter(None, [tokenizer.eos_token_id])}
    size = description.vocabulary_size or tokenizer.backend_tokenizer.get_vocab_size()
    tokens = Tokens(tokenizer, size, ends)
    has_forms = tokens.eos and (folder / VOCABULARY).exists()
    trial = FormTrial(pipeline.get_tokenizer(), size) if has_forms else None
    progress(0.99)
    memory = pipeline.get_metrics().cache_size_in_bytes + weight_bytes(folder)
    abilities = {"generate", "tokenize", *(["constrain"] if trial is not None else [])}
    info = describe(description, tokenizer, abilities, cache.context_length, trained, memory, device)
    return LoadedModel(pipeline, tokens, cache, trial, info)


def read_ahead(folder: Path, progress: LoadProgress) -> None:
    """Bring the weights into the page cache: that can take minutes, in which the library itself tells nothing."""
    total, done = weight_bytes(folder), 0
    for path in folder.glob("openvino_model*.bin"):
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(READ_BYTES):
                done += len(chunk)
                progress(SHARE + (READ_SHARE - SHARE) * done / total)


def weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("openvino_model*.bin"))


def describe(
    description: Description,
    tokenizer: FolderTokenizer,
    abilities: set[str],
    context: int,
    trained: int,
    memory: int,
    device: str,
) -> ModelInfo:
    templates = description.templates
    return ModelInfo(
        backend="openvino",
        engine_version=f"openvino-genai {version('openvino-genai')}",
        context_length=context,
        capabilities=frozenset(abilities),
        chat_template=templates.get("default"),
        tool_template=templates.get("tool_use"),
        control_tokens=tuple(each.content for each in tokenizer.added_tokens_decoder.values() if each.special),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        trained_context=trained,
        memory_bytes=memory,
        description=f"{description.kind} on {device}",
    )
