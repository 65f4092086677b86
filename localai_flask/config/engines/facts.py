"""What configuration has to know of each engine, which it never imports: files, size, and what models can do.

The one table of such facts; names.py has the names. An engine that is missing from it, as one of another
package, has those of `UNKNOWN`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Files = Literal["gguf", "folder", "pth", "other", "elsewhere"]
"""What a model is: a GGUF file, a folder of Hugging Face's kind, RWKV's checkpoint, not read here, or not here."""
COMPACT_BYTES, TORCH_BYTES = 128 << 20, 512 << 20
"""What a worker takes without a model: one of compiled code, and one that imports torch."""
WRITES = frozenset({"generate", "constrain", "end_thinking"})


class EngineFacts(NamedTuple):
    """`abilities` are what a model can do that writes text; those that only make vectors or scores cannot."""

    files: Files = "gguf"
    abilities: frozenset[str] = WRITES
    process_bytes: int = COMPACT_BYTES
    does_one_thing: bool = False
    """Whether a model that is to make vectors, or scores, writes no text beside that."""
    adapts: bool = False
    """Whether a request may have LoRA adapters of its own, beside others without."""
    sees: bool = False
    """Whether it shows images to a model that reads them: a GGUF file's does through a file beside it."""


UNKNOWN = EngineFacts()
PROGRAM = EngineFacts(abilities=frozenset({"generate", "constrain"}), does_one_thing=True, sees=True)
"""llama.cpp's own server, or a fork of it."""
ENGINES = {
    "echo": EngineFacts("other", frozenset({"generate", "embed", "score"}), 32 << 20),
    "llama-cpp": EngineFacts(sees=True, adapts=True),
    "llama-server": PROGRAM,
    "ik-llama-cpp": PROGRAM,
    "turboquant": PROGRAM,
    "cloud-proxy": EngineFacts("elsewhere", frozenset({"generate", "constrain"}), does_one_thing=True, sees=True),
    "transformers": EngineFacts("folder", process_bytes=TORCH_BYTES, sees=True),
    "gptq": EngineFacts("folder", process_bytes=TORCH_BYTES, sees=True),
    "openvino": EngineFacts("folder", frozenset({"generate", "constrain"})),
    "rwkv": EngineFacts("pth", process_bytes=TORCH_BYTES),
    "exllama2": EngineFacts("folder", process_bytes=TORCH_BYTES),
    "exllama3": EngineFacts("folder", process_bytes=TORCH_BYTES),
    "vllm": EngineFacts("folder", process_bytes=TORCH_BYTES, sees=True, adapts=True),
}


def facts(engine: str) -> EngineFacts:
    """Return the facts of an engine by its own name."""
    return ENGINES.get(engine, UNKNOWN)
