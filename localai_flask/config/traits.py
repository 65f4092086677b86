"""The traits of a model that is not loaded: from its YAML, and from the header of its file.

The engines decide by the same facts, so that a model is described alike before and after it is loaded; only memory that
does not suffice makes them choose a shorter context.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from localai_flask.config.engines.facts import facts
from localai_flask.config.files.gguf import inspect
from localai_flask.config.files.settling import all_parts, missing
from localai_flask.config.files.snapshot import Snapshot, read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.config.model_yaml.downloads import missing_files
from localai_flask.errors import ConfigError

DEFAULT_CONTEXT = 8192
"""What engines give at most where nobody asks for more."""
TRAINED = -1
"""As a context size: as many tokens as the model was trained for."""
RANK = 4
"""The number of llama.h's `llama_pooling_type` for models that score pairs of texts."""
ENCODERS = frozenset({"t5", "t5encoder"})
"""Architectures of GGUF files in which an encoder of its own reads the text."""
VECTOR_TYPES = ("AutoModel", "SentenceTransformer", "OVModelForFeatureExtraction")
"""What `type` may say in YAML for a folder's model that makes vectors only."""
TEXT_TYPE = "AutoModelForCausalLM"
"""The same for one that reads text only, also if it could see."""
RANK_TYPE = "CrossEncoder"
"""The same for one that scores pairs of texts, by sentence-transformers' name."""
PUBLIC_WORDS = {
    "generate": ("chat", "completion", "edit"),
    "embed": ("embeddings",),
    "score": ("rerank",),
    "constrain": ("structured_output",),
    "image": ("vision",),
}
"""An engine's word for what it can do, and ours for what comes with it; others are the same."""


class Header(msgspec.Struct, frozen=True):
    """What a GGUF file says; the defaults where it is silent."""

    trained_context: int = 0
    pooling_type: int | None = None
    is_encoder: bool = False
    """Whether each token sees those behind it."""
    infills: bool = False
    sampling: Mapping[str, float] = {}
    cached_bytes: int = 0
    """What a token takes in a cache of 16-bit numbers."""
    architecture: str = ""
    file_type: int | None = None
    parameter_count: int = 0
    embedding_length: int = 0
    vocab_size: int = 0
    chat_template: str = ""


def read_header(path: Path) -> Header | None:
    """Read a GGUF file's header, anew only if it changed; None if it cannot be read."""
    try:
        stat = path.stat()
    except OSError:  # not there yet, or not any more
        return None
    return _read(path, stat.st_mtime_ns, stat.st_size)


def context_length(config: EngineConfig) -> int | None:
    """Return how many tokens one request may have; None if nothing says."""
    if not config.parameters.model or facts(config.backend).files == "elsewhere":
        return _as_wanted(config)
    if facts(config.backend).files == "folder":
        return _text_limit(config, read_snapshot(config.model_path))
    if facts(config.backend).files == "pth":  # which remembers any text in the same space
        return choose_context(config.context_size, 0)
    header = read_header(config.model_path)
    if header is None:
        return _as_wanted(config)
    length = choose_context(config.context_size, header.trained_context)
    return min(length, header.trained_context or length) if header.is_encoder else length


def choose_context(wanted: int | None, trained: int) -> int:
    """Choose how many tokens a request may have: as the YAML wants, else as trained but not too much by default."""
    if wanted == TRAINED:
        return trained or DEFAULT_CONTEXT
    return wanted or min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)


def capabilities(config: EngineConfig) -> frozenset[str]:
    """Return what an engine will say that it can do with the model."""
    engine = facts(config.backend)
    if engine.files == "folder":
        alone = {"score"} if ranks_documents(config) else {"embed"} if makes_vectors(config) else None
        sees = {"image"} if engine.sees and sees_images(config) else set()
        return frozenset(engine.abilities | sees if alone is None else alone) | {"tokenize"}
    if engine.files == "elsewhere":
        alone = {"score"} if config.reranking else {"embed"} if config.embeddings else None
        sees = {"image"} if engine.sees and config.limit_mm_per_prompt.get("image") != 0 else set()
        return frozenset(engine.abilities | sees if alone is None else alone)
    if engine.files in ("other", "pth"):
        return engine.abilities | {"tokenize"}
    header = read_header(config.model_path) or Header()
    writes = not (header.is_encoder or config.reranking or header.pooling_type is not None)
    pooling = config.option("pooling_type", "pooling")
    scores = config.reranking or (header.pooling_type == RANK and pooling in (None, "rank"))
    pools = {"score" if scores else "embed"} if config.embeddings or not writes else set()
    writes = writes and not (pools and engine.does_one_thing)
    more = {"infill"} if writes and header.infills else set()
    more |= {"image"} if writes and config.mmproj and engine.sees else set()
    return frozenset({"tokenize"} | pools | more | (engine.abilities if writes else frozenset()))


def public_words(able: Iterable[str]) -> list[str]:
    """Return what engines can do in the words that people are told."""
    return sorted(word for each in able for word in PUBLIC_WORDS.get(each, (each,)))


def sampling(config: EngineConfig) -> Mapping[str, float]:
    """Return how the model's own file or folder wants it to be sampled, by the names of `SamplingParams`."""
    if not config.parameters.model:
        return {}
    if facts(config.backend).files == "folder":
        return read_snapshot(config.model_path).sampling
    header = read_header(config.model_path)
    return header.sampling if header is not None else {}


def file_bytes(config: EngineConfig) -> int | None:
    """Return how large a model's file, all its parts, or its folder are; None if it has none, or it is not there."""
    path = config.model_path
    try:
        if not config.parameters.model:
            return None
        files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else all_parts(path)
        return sum(file.stat().st_size for file in files)
    except OSError:
        return None


def find_file_fault(config: EngineConfig) -> ConfigError | None:
    """Find why a GGUF file cannot be loaded as it lies there now; None for other models and what is still to come."""
    if config.backend != "llama-cpp" or not config.parameters.model or missing_files(config):
        return None
    try:
        inspect(config.model_path)
    except ConfigError as error:
        return error
    return missing(config.model_path)


def makes_vectors(config: EngineConfig) -> bool:
    """Whether the model of a folder makes vectors, and then no text."""
    return config.embeddings or config.type in VECTOR_TYPES


def sees_images(config: EngineConfig) -> bool:
    """Return whether the model of a folder reads images beside text, as it is loaded."""
    may_see = config.type != TEXT_TYPE and config.limit_mm_per_prompt.get("image") != 0
    return may_see and read_snapshot(config.model_path).sees


def ranks_documents(config: EngineConfig) -> bool:
    """Whether the model of a folder scores documents, and does nothing else."""
    return config.reranking or config.type == RANK_TYPE


def _as_wanted(config: EngineConfig) -> int | None:
    return config.max_model_len or (config.context_size if config.context_size != TRAINED else None)


def _text_limit(config: EngineConfig, snapshot: Snapshot) -> int | None:
    limits = [snapshot.trained_context or DEFAULT_CONTEXT]
    if makes_vectors(config) or ranks_documents(config):
        limits += filter(None, (snapshot.tokenizer_limit, snapshot.sentence_limit))
    elif not snapshot.trained_context:
        return _as_wanted(config)
    return min(*limits, choose_context(config.max_model_len or config.context_size, min(limits)))


@functools.lru_cache(maxsize=512)
def _read(path: Path, _mtime_ns: int, _size: int) -> Header | None:
    try:
        found = inspect(path)
    except ConfigError:  # loading the model will say what is wrong with it
        return None
    is_encoder = not found.is_causal or found.architecture in ENCODERS
    return Header(
        trained_context=found.context_length,
        pooling_type=found.pooling_type,
        is_encoder=is_encoder,
        infills=found.infills,
        sampling=found.sampling,
        cached_bytes=found.cached_bytes,
        architecture=found.architecture,
        file_type=found.file_type,
        parameter_count=found.parameter_count,
        embedding_length=found.embedding_length,
        vocab_size=found.vocab_size,
        chat_template=found.chat_template or "",
    )
