"""What a Hugging Face folder says about its model, from the JSON files in it; knows no library that loads it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.config.files.bounded import read_json
from localai_flask.config.scalars import is_number
from localai_flask.errors import ConfigError

CONFIG, TOKENIZER, SENTENCES, GENERATION, MODULES = (
    "config.json",
    "tokenizer_config.json",
    "sentence_bert_config.json",
    "generation_config.json",
    "modules.json",
)
INTERMEDIATE = ("openvino_model.xml", "openvino_language_model.xml")
"""What OpenVINO's files are called: the weights of a model that reads text alone, and those of one that sees."""
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""The files that say what becomes of an image before a model sees it."""
READ = (CONFIG, TOKENIZER, SENTENCES, GENERATION, MODULES, *INTERMEDIATE, *PROCESSORS)
SAMPLING = {name: name for name in ("temperature", "top_p", "top_k", "min_p", "typical_p")}
SAMPLING["repetition_penalty"] = "repeat_penalty"
"""The keys of generation_config.json that say how a model wants to be sampled, and what the server calls them."""
POSITIONS = ("max_position_embeddings", "n_positions")
BEHIND_PAD = frozenset(
    (
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "roberta-prelayernorm",
        "camembert",
        "mpnet",
        "longformer",
        "data2vec-text",
    )
)
"""Types of models whose first token has the position behind the one of the padding token."""
UNLIMITED = 1 << 31
"""What tokenizers say that have no limit is larger still."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The folder's facts; a number is 0 where it is silent."""

    architectures: tuple[str, ...] = ()
    is_sentence_transformer: bool = False
    trained_context: int = 0
    """Tokens that the model was made for."""
    tokenizer_limit: int = 0
    sentence_limit: int = 0
    """Tokens to which sentence-transformers would cut a text."""
    labels: int = 0
    """Numbers that a head for sequences gives."""
    quantization: str = ""
    """How its weights are stored, by the library's name for it; "" as they were trained."""
    is_ir: bool = False
    """Whether its weights are there in OpenVINO's format."""
    has_processor: bool = False
    """Whether it says what becomes of images."""
    has_vision: bool = False
    """Whether its model has a part that sees."""
    sampling: Mapping[str, float] = {}
    """How the model wants to be sampled, by the names of `SamplingParams`; the values are not checked."""

    @property
    def sees(self) -> bool:
        """Whether the model reads images beside text, as far as its files say."""
        return self.has_vision and self.has_processor

    @property
    def makes_vectors(self) -> bool:
        """Whether the model makes vectors of texts rather than text."""
        return self.is_sentence_transformer or any(map(_is_encoder, self.architectures))

    @property
    def ranks_documents(self) -> bool:
        """Whether the model scores pairs of texts: with more labels than one it would classify them."""
        return self.labels == 1 and any(each.endswith("ForSequenceClassification") for each in self.architectures)


def read_snapshot(folder: Path) -> Snapshot:
    """Read a folder, anew only if one of its files changed; what is missing or unreadable in it is silent."""
    return _read(folder, tuple(_stamp(folder / name) for name in READ))


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=512)
def _read(folder: Path, stamps: tuple[tuple[int, int] | None, ...]) -> Snapshot:
    described, sentences = _object(folder / CONFIG), _object(folder / SENTENCES)
    text = described.get("text_config")
    positions = [part.get(key) for part in (described, text) if isinstance(part, dict) for key in POSITIONS]
    architectures = described.get("architectures")
    return Snapshot(
        architectures=tuple(map(str, architectures)) if isinstance(architectures, list) else (),
        is_sentence_transformer=stamps[READ.index(MODULES)] is not None,
        trained_context=max(next(filter(None, map(_count, positions)), 0) - _positions_unused(described), 0),
        tokenizer_limit=_count(_object(folder / TOKENIZER).get("model_max_length")),
        sentence_limit=_count(sentences.get("max_seq_length")),
        labels=_labels(described),
        quantization=_quantization(described),
        is_ir=any(stamps[READ.index(name)] for name in INTERMEDIATE),
        has_processor=any(stamps[READ.index(name)] for name in PROCESSORS),
        has_vision=isinstance(described.get("vision_config"), dict),
        sampling=_sampling(_object(folder / GENERATION)),
    )


def _positions_unused(described: dict[str, Any]) -> int:
    """Return how many positions no token of a text has."""
    pad = described.get("pad_token_id", 1)
    return pad + 1 if described.get("model_type") in BEHIND_PAD and isinstance(pad, int) else 0


def _sampling(wanted: dict[str, Any]) -> dict[str, float]:
    named = {name: wanted[key] for key, name in SAMPLING.items() if is_number(wanted.get(key))}
    return {**named, "temperature": 0.0} if wanted.get("do_sample") is False else named


def _object(file: Path) -> dict[str, Any]:
    try:
        return read_json(file)
    except ConfigError:  # loading the model will say what is wrong with it
        return {}


def _quantization(described: dict[str, Any]) -> str:
    settings = described.get("quantization_config")
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    return method.lower() if isinstance(method, str) else ""


def _labels(described: dict[str, Any]) -> int:
    names = described.get("id2label")
    return len(names) if isinstance(names, dict) else _count(described.get("num_labels"))


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and 0 < value < UNLIMITED else 0


def _is_encoder(architecture: str) -> bool:
    """Return whether a class of the library has hidden states and no head, or one that only guesses masked tokens."""
    is_bare = architecture.endswith("Model") and not architecture.endswith("LMHeadModel")
    return is_bare or architecture.endswith("ForMaskedLM")
