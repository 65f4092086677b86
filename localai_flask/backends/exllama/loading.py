"""Opens a model: the library on a card, the folder's tokenizer and chat template, and what is told of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.exllama.key_checks import check
from localai_flask.backends.exllama.runner import Runner
from localai_flask.backends.exllama.settings import Settings, read_settings
from localai_flask.backends.hugging_face.description import Description
from localai_flask.backends.hugging_face.folder import find_folder
from localai_flask.backends.hugging_face.tokenizer_file import read_tokenizer
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.backends.notes import heed
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.generation import ModelInfo

UNREADABLE = (OSError, ValueError, ImportError, RuntimeError, KeyError, AttributeError, AssertionError, TypeError)
"""What the libraries raise about folders, kernels and cards that they cannot use."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that runs."""

    runner: Runner
    tokens: Tokens
    info: ModelInfo
    context: int


def load_model(config: EngineConfig, progress: LoadProgress) -> LoadedModel:
    """Load a folder; raise `ConfigError` or `ModelLoadFailed` with what to do."""
    heed(check(config), config)
    find_folder(config)
    _check_card(config)
    settings = read_settings(config)
    description, tokenizer = Description(settings.folder), read_tokenizer(config, settings.folder)
    ends = {*description.end_tokens, *filter(None, [tokenizer.eos_token_id])}
    known = tokenizer.backend_tokenizer.get_vocab_size()
    tokens = Tokens(tokenizer, min(description.vocabulary_size or known, known), ends)
    try:
        runner = _open(config.backend, settings, progress)
    except UNREADABLE as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelLoadFailed(f"Model {config.name}: {config.backend} cannot load it: {said}") from error
    progress(1.0)
    templates = description.templates
    weights = sum(file.stat().st_size for file in settings.folder.glob("*.safetensors"))
    info = ModelInfo(
        backend=config.backend,
        engine_version=runner.version,
        context_length=settings.context,
        capabilities=frozenset({"generate", "constrain", "end_thinking", "tokenize"}),
        chat_template=templates.get("default"),
        tool_template=templates.get("tool_use"),
        control_tokens=tuple(each.content for each in tokenizer.added_tokens_decoder.values() if each.special),
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        trained_context=read_snapshot(settings.folder).trained_context,
        memory_bytes=weights,
        gpu_bytes=weights,
        description=f"{description.kind} by {runner.version}",
    )
    return LoadedModel(runner, tokens, info, settings.context)


def _check_card(config: EngineConfig) -> None:
    """Choose the card that `main_gpu` names; raise `ConfigError` if there is none at all."""
    number = config.main_gpu.lower().replace("cuda", "").strip(":. ")
    if number.isdecimal():
        os.environ["CUDA_VISIBLE_DEVICES"] = number  # torch looks at it when it first counts the cards
    if not torch.cuda.is_available():
        raise ConfigError(
            f"Model {config.name}: the {config.backend} backend computes on NVIDIA cards alone, and torch finds none "
            "here; use a GGUF file of the model with `backend: llama-cpp`.",
            param="backend",
        )


def _open(backend: str, settings: Settings, progress: LoadProgress) -> Runner:
    def report(at: int, count: int) -> None:
        progress(0.05 + 0.9 * at / max(count, 1))

    if backend == "exllama3":
        from localai_flask.backends.exllama.v3 import Exllama3

        return Exllama3(settings, report)
    from localai_flask.backends.exllama.v2 import Exllama2

    return Exllama2(settings, report)
