"""Keys of a model's YAML that this engine cannot honour, found without its library."""

from __future__ import annotations

from collections.abc import Iterator

from localai_flask.backends.notes import Note, check_options, unread_keys
from localai_flask.config.model import EngineConfig

KEYS = frozenset(
    (
        *("context_size", "threads", "batch", "f16", "main_gpu", "dtype", "embeddings", "quantization"),
        *("trust_remote_code", "engine_args"),
    )
)
"""The keys that this engine reads."""
WRITERS = ("", "OVModelForCausalLM", "AutoModelForCausalLM")
VECTORIZERS = ("OVModelForFeatureExtraction", "AutoModel", "SentenceTransformer")
PROPERTIES = {
    "performance_mode": "PERFORMANCE_HINT",
    "inference_precision": "INFERENCE_PRECISION_HINT",
    "kv_cache_precision": "KV_CACHE_PRECISION",
    "num_streams": "NUM_STREAMS",
}
"""Options that are properties of OpenVINO's devices; all others go into `engine_args` under their own names."""
NUMBERS = {"parallel": 1, "n_parallel": 1, "kv_cache_mib": 1}
"""Options that are whole numbers, with the smallest."""
OPTIONS = (*PROPERTIES, *NUMBERS)
WEIGHT_FORMATS = ("fp32", "fp16", "int8", "int4", "mxfp4", "nf4", "cb4")
"""What weights may become when a model is exported, by the names of optimum-cli."""


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    yield from unread_keys(config, "openvino", KEYS)
    if config.type not in (*WRITERS, *VECTORIZERS):
        named = ", ".join((*WRITERS[1:2], *VECTORIZERS[:1]))
        said = f"the openvino backend has no type {config.type!r}; use one of: {named}"
        yield Note(("type",), said, is_fault=True)
    if config.quantization and config.quantization not in WEIGHT_FORMATS:
        said = f"the openvino backend has no quantization {config.quantization!r}; use one of: "
        yield Note(("quantization",), said + ", ".join(WEIGHT_FORMATS), is_fault=True)
    yield from check_options(config, "openvino", OPTIONS, NUMBERS)
