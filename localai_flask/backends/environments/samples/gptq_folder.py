"""Makes a Llama of two layers with random weights, quantised to 4 bits as GPTQ stores them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from localai_flask.backends.environments.samples import describe, llama_folder

BITS, GROUP, PER_WORD = 4, 32, 8
"""Bits of a weight, weights that share a scale, and weights in a number of 32 bits."""
ZERO = 8
"""What stands for 0 of the numbers from 0 to 15; files have one less, for a reason lost in AutoGPTQ's history."""


def quantise(folder: Path) -> None:
    """Write a model's linear layers anew, each group of weights rounded to 16 steps: GPTQ without its calibration."""
    import torch
    from safetensors.torch import load_file, save_file

    made = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            made[name] = weight.half()
            continue
        layer = name.removesuffix(".weight")
        width, depth = weight.shape
        grouped = weight.float().T.reshape(depth // GROUP, GROUP, width)
        scales = (grouped.abs().amax(1) / (ZERO - 1)).clamp(min=1e-6).half()
        steps = (grouped / scales.float()[:, None] + ZERO).round().clamp(0, 15).reshape(depth, width).to(torch.int64)
        shifts = torch.arange(PER_WORD) * BITS
        words = (steps.reshape(-1, PER_WORD, width) << shifts[None, :, None]).sum(1)
        zeros = torch.full((depth // GROUP, width // PER_WORD), int((ZERO - 1) * 0x11111111))
        made[f"{layer}.qweight"], made[f"{layer}.qzeros"] = _signed(words), _signed(zeros)
        made[f"{layer}.scales"] = scales
        made[f"{layer}.g_idx"] = (torch.arange(depth) // GROUP).to(torch.int32)
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    settings = {"quant_method": "gptq", "bits": BITS, "group_size": GROUP, "desc_act": False, "sym": True}
    settings |= {"checkpoint_format": "gptq", "lm_head": False}
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16", "quantization_config": settings}))


def _signed(words: Any) -> Any:
    """Return words of 32 bits, that may be above 2**31, as the signed numbers that files have."""
    import torch

    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


if __name__ == "__main__":
    llama_folder.make_model(Path(sys.argv[1]) / "llama")
    quantise(Path(sys.argv[1]) / "llama")
    describe(Path(sys.argv[1]), parameters={"model": "llama"}, context_size=128)
