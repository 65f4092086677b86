"""What sentence-transformers does with a model's hidden states: the modules that its folder lists, and their weights.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html: `modules.json` names a folder and a type for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from localai_flask.backends.embedding import Vectors
from localai_flask.backends.hugging_face.sentence_folder import list_modules, read_pooling, read_prompt
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed

ACTIVATIONS: dict[str, Any] = {
    "Identity": lambda values: values,
    "Tanh": torch.tanh,
    "ReLU": torch.relu,
    "GELU": torch.nn.functional.gelu,
    "SiLU": torch.nn.functional.silu,
    "Sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class Dense:
    """A layer behind the pooling."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    activation: str

    def __call__(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return shape (n, out) for shape (n, in)."""
        made: torch.Tensor = ACTIVATIONS[self.activation](torch.nn.functional.linear(vectors, self.weight, self.bias))
        return made


@dataclass(frozen=True)
class SentenceModules:
    """How hidden states become one vector, and what is put before each text."""

    pooling: str = "mean"
    layers: tuple[Dense, ...] = ()
    prompt: str = ""

    @property
    def width(self) -> int | None:
        """Numbers of a vector; None: those of the hidden states."""
        return len(self.layers[-1].weight) if self.layers else None

    @torch.inference_mode()  # type: ignore[untyped-decorator]
    def project(self, vectors: Vectors) -> Vectors:
        """Send pooled vectors, shape (n, hidden), through the layers."""
        states = torch.from_numpy(np.ascontiguousarray(vectors, np.float32))
        for layer in self.layers:
            states = layer(states)
        projected: Vectors = states.numpy()
        return projected


def read_modules(config: EngineConfig, folder: Path) -> SentenceModules:
    """Read what a folder lists; one without modules is pooled by its mean.

    Raises `ConfigError` for a module that the backend does not have, `ModelLoadFailed` for one that is damaged.
    """
    pooling, layers = "mean", []
    for name, kind in list_modules(folder):
        if kind == "Pooling":
            pooling = read_pooling(config, folder / name / "config.json")
        elif kind == "Dense":
            layers.append(_dense(config, folder / name))
        elif kind not in ("Transformer", "Normalize"):  # all vectors are normalized anyway
            raise ConfigError(
                f"Model {config.name}: {folder / 'modules.json'} lists a {kind}, which the transformers backend does "
                "not have; choose another model."
            )
    return SentenceModules(pooling, tuple(layers), read_prompt(folder))


def _dense(config: EngineConfig, folder: Path) -> Dense:
    described = read_json(folder / "config.json")
    activation = str(described.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ConfigError(
            f"Model {config.name}: {folder / 'config.json'} has the activation {activation}, but the transformers "
            f"backend has: {', '.join(ACTIVATIONS)}."
        )
    try:
        weights = _weights(folder)
        weight, bias = weights["linear.weight"].float(), weights.get("linear.bias")
    except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise ModelLoadFailed(
            f"Model {config.name}: cannot read the weights in {folder}; download it again."
        ) from error
    return Dense(weight, None if bias is None else bias.float(), activation)


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    if (file := folder / "model.safetensors").exists():
        return safetensors.torch.load_file(file)
    loaded: dict[str, torch.Tensor] = torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True)
    return loaded
