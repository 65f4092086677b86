"""What configuration has to know of each engine, which it never imports: names, files, size, and what models can do.

The one table of such facts. An engine that is missing from it, as one of another package, has those of `UNKNOWN`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Files = Literal["gguf", "folder", "other"]
"""What a model is: a GGUF file, a folder of the Hugging Face kind, or what nothing here can read."""
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


class Name(NamedTuple):
    """What an older name means: an engine, and the `type` that comes with it; `suffix` is all that it runs."""

    engine: str
    type: str = ""
    suffix: str = ""


UNKNOWN = EngineFacts()
PROGRAM = EngineFacts(abilities=frozenset({"generate", "constrain"}), does_one_thing=True)
"""llama.cpp's own server, or a fork of it."""
ENGINES = {
    "echo": EngineFacts("other", frozenset({"generate", "embed", "score"}), 32 << 20),
    "llama-cpp": EngineFacts(),
    "llama-server": PROGRAM,
    "ik-llama-cpp": PROGRAM,
    "turboquant": PROGRAM,
    "transformers": EngineFacts("folder", process_bytes=TORCH_BYTES),
}
NAMES = {
    "llama": Name("llama-cpp"),
    "go-llama": Name("llama-cpp"),
    "llama.cpp": Name("llama-cpp"),
    "llama-grpc": Name("llama-cpp"),
    "llama-cpp-grpc": Name("llama-cpp"),
    "llama-cpp-fallback": Name("llama-cpp"),
    "ik-llama": Name("ik-llama-cpp"),
    "ik_llama": Name("ik-llama-cpp"),
    "rwkv": Name("llama-cpp", suffix=".gguf"),
    "huggingface-embeddings": Name("transformers", "SentenceTransformer"),
    "sentencetransformers": Name("transformers", "SentenceTransformer"),
    "mamba": Name("transformers", "Mamba"),
}
"""Older names of engines, and LocalAI's."""
NOT_HERE = frozenset(
    (
        *("vllm", "vllm-cpp", "vllm-omni", "sglang", "mlx", "mlx-vlm", "openvino", "autogptq", "exllama", "exllama2"),
        *("rerankers", "ds4", "bonsai", "bert-embeddings", "cloud-proxy", "local-store"),
    )
)
"""LocalAI's other engines of text, none of which is installed."""


def facts(engine: str) -> EngineFacts:
    """Return the facts of an engine by its own name."""
    return ENGINES.get(engine, UNKNOWN)


def meant_by(name: str) -> Name:
    """Return what the name of an engine in YAML means."""
    return NAMES.get(name, Name(name))
