"""Keys of a model's YAML that this engine cannot honour, found without its library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches

from localai_flask.backends.notes import NO_EFFECT, Note, check_options, unread_keys
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import ranks_documents

KEYS = frozenset(
    (
        *("context_size", "threads", "batch", "gpu_layers", "f16", "main_gpu", "dtype", "embeddings", "reranking"),
        *("quantization", "trust_remote_code", "trust_pickles", "limit_mm_per_prompt"),
    )
)
"""The keys that this engine reads, or has words of its own about."""
TYPES = (
    *("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForImageTextToText", "Mamba", "AutoModel"),
    *("SentenceTransformer", "CrossEncoder"),
)
CLASS = re.compile(r"\w+For\w+|\w+LMHeadModel|\w+Model")
"""What the library's classes are called; which of them it has is known when the model is loaded."""
OPTIONS = ("parallel", "n_parallel", "kv_cache_mib")


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    yield from unread_keys(config, "transformers", KEYS)
    if config.type.startswith("OV"):
        yield Note(("type",), f"`type: {config.type}` is for OpenVINO; set `backend: openvino`", is_fault=True)
    elif config.type not in ("", *TYPES) and CLASS.fullmatch(config.type) is None:
        near = get_close_matches(config.type, TYPES, n=1)
        meant = f"perhaps {near[0]!r} is meant" if near else f"use {', '.join(TYPES)} or a class of the library"
        yield Note(("type",), f"the transformers backend has no type {config.type!r}; {meant}", is_fault=True)
    if config.embeddings and ranks_documents(config):
        said = "a model of the transformers backend makes vectors or scores documents; remove `embeddings`"
        yield Note(("embeddings",), said, is_fault=True)
    if config.gpu_layers:
        yield Note(("gpu_layers",), f"transformers puts all layers of a model on one device, or none; {NO_EFFECT}")
    yield from check_options(config, "transformers", OPTIONS, dict.fromkeys(OPTIONS, 1))
