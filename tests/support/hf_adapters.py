"""Maker of LoRA adapters in PEFT's form, with random weights, and of the models that they make of others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WEIGHTS = "model.safetensors"
PREFIX, SUFFIX = "base_model.model.", ".weight"
TARGETS = ("q_proj", "o_proj", "up_proj")


def make_adapter(model: Path, folder: Path, seed: int, rank: int = 4) -> Path:
    """Write an adapter for the queries, outputs and feed-forward of a Llama; return its folder."""
    chance = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in load_file(model / WEIGHTS).items():
        if name.removesuffix(SUFFIX).endswith(TARGETS):
            rows, columns = weight.shape
            for part, shape in (("A", (rank, columns)), ("B", (rows, rank))):
                made = torch.randn(shape, generator=chance) * 0.2
                tensors[f"{PREFIX}{name.removesuffix(SUFFIX)}.lora_{part}{SUFFIX}"] = made
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none"}
    about |= {"target_modules": list(TARGETS), "base_model_name_or_path": "", "lora_dropout": 0.0}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    return folder


def merge(model: Path, adapter: Path, folder: Path) -> Path:
    """Write the model that an adapter makes of another; return its folder."""
    about = json.loads((adapter / "adapter_config.json").read_text())
    shutil.copytree(model, folder)
    weights, parts = load_file(model / WEIGHTS), load_file(adapter / "adapter_model.safetensors")
    for name in weights:
        start = f"{PREFIX}{name.removesuffix(SUFFIX)}.lora_"
        if f"{start}A{SUFFIX}" in parts:
            change = parts[f"{start}B{SUFFIX}"] @ parts[f"{start}A{SUFFIX}"]
            weights[name] = weights[name] + change * about["lora_alpha"] / about["r"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return folder
