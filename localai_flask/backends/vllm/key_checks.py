"""Keys of a model's YAML that this engine cannot honour, found without its library."""

from __future__ import annotations

from collections.abc import Iterator

from localai_flask.backends.notes import NO_EFFECT, Note, unread_keys
from localai_flask.config.model import EngineConfig

KEYS = frozenset(
    (
        *("context_size", "max_model_len", "threads", "f16", "dtype", "quantization", "load_format", "embeddings"),
        *("reranking", "trust_remote_code", "gpu_memory_utilization", "swap_space", "enforce_eager", "lora_adapter"),
        *("lora_adapters", "tensor_parallel_size", "disable_log_stats", "limit_mm_per_prompt", "engine_args"),
        *("batch", "tokenizer"),
    )
)
"""The keys that this engine reads, or has words of its own about."""
NEEDLESS = ("tool_parser", "reasoning_parser")
"""Options of LocalAI's for what this server finds out by itself."""
OURS = {
    "model": "say `parameters.model`",
    "tokenizer": "say `parameters.tokenizer`",
    "trust_remote_code": "say `trust_remote_code: true` beside `engine_args`",
    "logits_processors": "they are how this server holds answers to forms",
}
"""Arguments that stand in other places of the YAML."""


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    yield from unread_keys(config, "vllm", KEYS)
    for name, instead in OURS.items():
        if name in config.engine_args:
            yield Note(("engine_args", name), f"`{name}` cannot be an engine argument; {instead}", is_fault=True)
    if config.swap_space:
        yield Note(
            ("swap_space",), f"vLLM has no `swap_space` any more, and computes again what was evicted; {NO_EFFECT}"
        )
    if len(adapters(config)) > 1:
        yield Note(("lora_adapters",), "vLLM applies one adapter to a request; name one alone", is_fault=True)
    if config.embeddings and config.reranking:
        yield Note(("embeddings",), "a model makes vectors or scores documents; remove one of the two", is_fault=True)
    for index, entry in enumerate(config.options):
        name = flag_name(entry)
        if name in NEEDLESS:
            yield Note(("options", index), f"`{name}` is needless: the model's template says how it calls and thinks")
        elif name in OURS:
            yield Note(("options", index), f"`{name}` cannot be an option; {OURS[name]}", is_fault=True)


def adapters(config: EngineConfig) -> list[str]:
    """List the adapters that the YAML names."""
    return [name for name in (config.lora_adapter, *config.lora_adapters) if name]


def flag_name(entry: str) -> str:
    """Return the argument that an entry of `options:` names, as in `--max-num-seqs=4` and `max_num_seqs:4`."""
    return split_flag(entry)[0]


def split_flag(entry: str) -> tuple[str, str]:
    """Split an entry of `options:` into an argument and its value; a bare name means "true"."""
    bare = entry.strip().removeprefix("--")
    at = min((at for at in (bare.find(":"), bare.find("=")) if at >= 0), default=len(bare))
    return bare[:at].strip().replace("-", "_"), bare[at + 1 :].strip() or "true"
