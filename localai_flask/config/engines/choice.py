"""Which engine runs a model whose YAML, if there is any, names none: its files say."""

from __future__ import annotations

from pathlib import Path

from localai_flask.config.files.pth import PTH
from localai_flask.config.files.snapshot import CONFIG, read_snapshot

OF_QUANTIZATION = {
    "": "transformers",
    **dict.fromkeys(("bitsandbytes", "mxfp4"), "transformers"),
    "gptq": "gptq",
    "exl2": "exllama2",
    "exl3": "exllama3",
}
"""By how the weights of a folder are stored, as its config.json says; all others (AWQ, FP8, …) are vLLM's."""


def choose_engine(path: Path) -> str:
    """Return the engine for a model's file or folder, which need not be there yet."""
    if path.suffix.lower() == PTH:
        return "rwkv"
    if not (path / CONFIG).exists():
        return "llama-cpp"
    snapshot = read_snapshot(path)
    return "openvino" if snapshot.is_ir else OF_QUANTIZATION.get(snapshot.quantization, "vllm")
