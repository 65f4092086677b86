"""Opens a model: the library made ready for the model's version, its weights, its vocabulary, and what is told of it.

The library is one of two when it is imported: version 7, or those before. A worker has one model, so that is decided
once for its process.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.notes import heed
from localai_flask.backends.rwkv.chat_template import CHAT_TEMPLATE
from localai_flask.backends.rwkv.key_checks import check
from localai_flask.backends.rwkv.strategy import choose_strategy
from localai_flask.backends.rwkv.turns import Network
from localai_flask.backends.rwkv.vocabulary import END, END_NAME, Tokens, read_vocabulary
from localai_flask.config.files.pth import PTH, Checkpoint, read_checkpoint
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import choose_context
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.generation import ModelInfo

log = logging.getLogger(__name__)

VOCABULARY = "rwkv_vocab_v20230424.txt"
"""The file of the package that all World models are trained with."""
BESIDE = (".pth.tokenizer.json", ".tokenizer.json", ".vocab.txt")
"""What a vocabulary is called that lies beside its model, the first two in LocalAI."""
WORLD = 65530
"""Tokens in it; the models' own number is rounded up."""
PASSES = 3
UNREADABLE = (OSError, RuntimeError, AssertionError, KeyError, ValueError, TypeError, AttributeError)
"""What the library raises about weights that it cannot make a model of."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that can be asked."""

    network: Network
    tokens: Tokens
    info: ModelInfo


def load_model(config: EngineConfig, progress: LoadProgress) -> LoadedModel:
    """Load a checkpoint; raise `ConfigError` or `ModelLoadFailed` with what to do."""
    heed(check(config), config)
    checkpoint = read_checkpoint(config.model_path)
    if checkpoint is None:
        raise _unreadable(config)
    if config.threads:
        torch.set_num_threads(config.threads)
    strategy = choose_strategy(config, checkpoint)
    make, folder = _import_library(checkpoint.version)
    tokens = read_vocabulary(_find_vocabulary(config, checkpoint, folder), checkpoint.vocabulary)
    progress(0.1)
    try:
        with _quiet():
            network = make(str(config.model_path)[: -len(PTH)], strategy)
            _warm_up(network)
    except UNREADABLE as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelLoadFailed(f"Model {config.name}: rwkv cannot load it as `{strategy}`: {said}") from error
    progress(1.0)
    return LoadedModel(network, tokens, _describe(config, checkpoint, strategy))


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _warm_up(network: Network) -> None:
    """Have what is compiled compiled, which takes the library its first passes, and see that the device can."""
    _, state = network.forward([END, END], None)
    for tokens in ([END, END], [END]) * PASSES:
        network.forward(tokens, list(state))


def _import_library(version: int) -> tuple[Any, Path]:
    """Import the library for a version of RWKV; return its class and its folder."""
    os.environ["RWKV_V7_ON"] = "1" if version == 7 else "0"
    os.environ["RWKV_JIT_ON"] = "1"
    os.environ["RWKV_CUDA_ON"] = "0"  # kernels that would have to be compiled, and save a third of a prompt's time
    with _quiet():
        import rwkv.model

    return rwkv.model.RWKV, Path(rwkv.model.__file__).parent


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the library prints, a line for each tensor, out of the log."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _find_vocabulary(config: EngineConfig, checkpoint: Checkpoint, folder: Path) -> Path:
    """Return the file that YAML names, or the one beside the model that has its name, or the package's own."""
    if config.parameters.tokenizer:
        return Path(config.models_path) / config.parameters.tokenizer
    model = config.model_path
    for beside in (model.with_suffix(ending) for ending in BESIDE):
        if beside.exists():
            return beside
    if checkpoint.vocabulary < WORLD:
        raise ConfigError(
            f"Model {config.name}: it has {checkpoint.vocabulary} tokens, so it is none of RWKV's World models; name "
            "its vocabulary, a tokenizer.json or a text file of RWKV's, in `parameters.tokenizer`.",
            param="tokenizer",
        )
    return folder / VOCABULARY


def _unreadable(config: EngineConfig) -> ConfigError:
    path = config.model_path
    if not path.exists():
        return ConfigError(f"Model {config.name}: the file {path} does not exist; put it there.", param="model")
    return ConfigError(
        f"Model {config.name}: {path} is no checkpoint of RWKV that can be read; download the .pth file again, or set "
        "`backend: llama-cpp` for a GGUF file and `backend: transformers` for a folder.",
        param="model",
    )


def _describe(config: EngineConfig, checkpoint: Checkpoint, strategy: str) -> ModelInfo:
    size = {"fp32": 4, "bf16": 2, "fp16": 2}[strategy.split()[1][:4]] if "i8" not in strategy else 1
    return ModelInfo(
        backend="rwkv",
        engine_version=f"rwkv {importlib.metadata.version('rwkv')}",
        context_length=choose_context(config.context_size, 0),
        capabilities=frozenset({"generate", "constrain", "end_thinking", "tokenize"}),
        chat_template=CHAT_TEMPLATE,
        control_tokens=(END_NAME,),
        eos_token=END_NAME,
        memory_bytes=checkpoint.parameters * size,
        description=f"RWKV-{checkpoint.version}, {checkpoint.parameters / 1e6:.1f} M parameters, {strategy}",
    )
