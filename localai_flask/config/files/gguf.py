"""What a GGUF file says about itself, read from its header.

Owns the file format's header (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) and the sentences that explain
a file which is not what it should be. Knows no engine: weights are never read, only counted.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from localai_flask.config.files.bounded import open_regular
from localai_flask.config.files.foreign_formats import describe_format
from localai_flask.config.files.gguf_reader import (
    ARRAY,
    SCALARS,
    SHOWN_BYTES,
    STRING,
    U32,
    U64,
    CutOff,
    Damaged,
    HeaderReader,
)
from localai_flask.config.files.gguf_tensors import MOST_TENSORS, Tensor, find_data_end, layer_bytes, read_tensors
from localai_flask.config.scalars import is_number
from localai_flask.errors import ConfigError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_KEYS = 1 << 13
MOST_ENTRIES = 1 << 22
"""More than any vocabulary has: a larger count means a damaged header, not a reason to read for minutes."""

PROJECTOR = "clip"
"""The architecture of projectors, of which older ones do not say that they are."""
TOKENS = "tokenizer.ggml.tokens"
TEMPLATE = "tokenizer.chat_template"
PROJECTORS = "clip.projector_type", "clip.vision.projector_type"
ADAPTER_MARK = b"general.type\x08\0\0\0\x07\0\0\0\0\0\0\0adapter"
"""How a file says that it is an adapter: a key, the number of the type of texts, and a text behind its length."""
TEXTS = ("general.architecture", "general.type", "general.name", "general.size_label", TEMPLATE, *PROJECTORS)
"""The keys whose texts are kept."""
SAMPLING = {
    "general.sampling.temp": "temperature",
    "general.sampling.penalty_repeat": "repeat_penalty",
    "general.sampling.penalty_last_n": "repeat_last_n",
    **{
        f"general.sampling.{name}": name
        for name in (
            "top_k",
            "top_p",
            "min_p",
            "xtc_probability",
            "xtc_threshold",
            "mirostat",
            "mirostat_tau",
            "mirostat_eta",
        )
    },
}
"""The keys by which a file says how its model wants to be sampled, and what the server calls them."""
INFILL = {
    **dict.fromkeys(b"<|fim_prefix|> <fim-prefix> <fim_prefix> <PRE> <|code_prefix|> <|prefix|>".split(), "pre"),
    **dict.fromkeys(b"<|fim_suffix|> <fim-suffix> <fim_suffix> <SUF> <|code_suffix|> <|suffix|>".split(), "suf"),
    **dict.fromkeys(b"<|fim_middle|> <fim-middle> <fim_middle> <MID> <|code_middle|> <|middle|>".split(), "mid"),
    **dict.fromkeys(("<｜fim▁begin｜>".encode(), "▁<PRE>".encode()), "pre"),
    **dict.fromkeys(("<｜fim▁hole｜>".encode(), "▁<SUF>".encode()), "suf"),
    **dict.fromkeys(("<｜fim▁end｜>".encode(), "▁<MID>".encode()), "mid"),
}
"""The tokens by which llama.cpp finds that a model can write the middle of a text, where its file names none."""
INFILL_KEYS = {
    "pre": ("tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"),
    "suf": ("tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"),
    "mid": ("tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"),
}


class CutOffFile(ConfigError):
    """A file ends before what its header promises."""

    def __init__(self, message: str, share: float = 0.0):
        """`share` is how much of it there is, from 0 to 1, as far as that is known."""
        super().__init__(message)
        self.share = share


class GGUFInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The header's facts; a number is 0 and a text "" where the file is silent.

    `kind` is "model" unless the file says "adapter" or "mmproj". `context_length` is what the model was trained for, in
    tokens. `data_end` is the offset in bytes at which the last tensor ends: a shorter file is cut off.
    """

    architecture: str
    kind: str
    name: str
    size_label: str
    file_type: int | None
    context_length: int
    embedding_length: int
    block_count: int
    pooling_type: int | None
    """How its vectors are pooled, a number of llama.h's `llama_pooling_type`; None unless it was made for vectors."""
    is_causal: bool
    infills: bool
    """Whether the vocabulary has the tokens for writing the middle of a text."""
    vocab_size: int
    has_tokenizer: bool
    chat_template: str | None
    projector: str
    """What kind of projector it is, if it is one."""
    sees: bool
    """Whether that is for images."""
    sampling: dict[str, float]
    """How the model wants to be sampled, by the names of `SamplingParams`; the values are not checked."""
    tensor_count: int
    parameter_count: int
    layer_bytes: tuple[int, ...]
    """What the weights of each layer take; the rest are embeddings and output."""
    split_count: int
    data_end: int
    cached_bytes: int
    """What a token takes in a cache of 16-bit numbers: too much for layers that keep less, 0 if the file is silent."""


def inspect(path: Path, *, with_vocabulary: bool = False, named_by: str = "parameters.model") -> GGUFInfo:
    """Read a GGUF file's header and check that the file is as long as its tensors need.

    With its vocabulary, each token is compared with all others. `named_by` is the key of the YAML that names the file.

    Raises `ConfigError` with one sentence that names the file, what is wrong with it, and what to do.
    """
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder; name the .gguf file inside it in `{named_by}`.")
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size == 0:
                raise CutOffFile(f"{path} is empty; download it again.")
            return _inspect(path, file, size, _Tokens(with_vocabulary))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; put the model file there or correct `{named_by}`.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check its permissions and its disk.") from error


def inspect_stream(name: str, file: BinaryIO, size: int) -> GGUFInfo:
    """Read the header of a file of that size which is open somewhere; raise `ConfigError` as `inspect` does."""
    return _inspect(Path(name), file, size, _Tokens(False))


def _inspect(path: Path, file: BinaryIO, size: int, tokens: _Tokens) -> GGUFInfo:
    head = file.read(32)
    if head[:4] != MAGIC:
        raise ConfigError(f"{path} is not a GGUF file: {describe_format(head)}.")
    try:
        info = _parse(HeaderReader(file, size), tokens)
    except CutOff:
        raise CutOffFile(f"{path} is cut off inside its header, after {size} bytes; download it again.") from None
    except Damaged as damage:
        raise ConfigError(f"{path} cannot be used: {damage}.") from None
    if info.data_end > size:
        raise CutOffFile(
            f"{path} is cut off: {size} of {info.data_end} bytes; download it again.", size / info.data_end
        )
    return info


def _value(reader: HeaderReader, key: str, tokens: _Tokens) -> Any:
    """Read one metadata value; of an array it gives the length, and of a text that nobody asks for nothing."""
    kind = reader.number(U32)
    if kind == ARRAY:
        return _array(reader, key, tokens)
    if kind != STRING:
        return reader.number(_scalar(kind, key))
    if key in TEXTS:
        return reader.text(f"`{key}`")
    return reader.skip_text()


def _array(reader: HeaderReader, key: str, tokens: _Tokens) -> int:
    kind, count = reader.number(U32), reader.number(U64)
    if count > MOST_ENTRIES:
        raise Damaged(f"its metadata key {key!r} claims {count} entries; download it again")
    if key == TOKENS and kind == STRING:
        tokens.read(reader.texts(count))
    elif kind == STRING:
        reader.skip_texts(count)
    else:
        reader.skip(count * _scalar(kind, key).size)
    return int(count)


def _scalar(kind: int, key: str) -> struct.Struct:
    if kind not in SCALARS:
        raise Damaged(f"its metadata key {key!r} has the unknown type {kind}; download it again")
    return SCALARS[kind]


class _Tokens:
    """What is looked for in the vocabulary."""

    def __init__(self, is_checked: bool):
        self.infill: set[bytes] = set()
        self._is_checked = is_checked

    def read(self, texts: Iterator[bytes]) -> None:
        if not self._is_checked:
            self.infill = INFILL.keys() & texts
            return
        seen: set[bytes] = set()
        for token, text in enumerate(texts):
            if text in seen and text:  # llama.cpp would end the process
                shown = text[:SHOWN_BYTES]
                raise Damaged(f"its token {token} has the text of another, {shown!r}; download it again")
            seen.add(text)
        self.infill = INFILL.keys() & seen


def _parse(reader: HeaderReader, tokens: _Tokens) -> GGUFInfo:
    reader.take(len(MAGIC))
    version = reader.number(U32)
    if version and version & 0xFFFF == 0:
        raise Damaged("it is a big-endian GGUF file; download the little-endian one")
    if version not in VERSIONS:
        raise Damaged(f"it has GGUF version {version}, and versions 2 and 3 are supported; convert the model anew")
    tensor_count, entry_count = reader.number(U64), reader.number(U64)
    if tensor_count > MOST_TENSORS or entry_count > MOST_KEYS:
        raise Damaged(f"its header claims {tensor_count} tensors and {entry_count} metadata keys; download it again")
    metadata = dict(_entries(reader, entry_count, tokens))
    tensors = list(read_tensors(reader, tensor_count))
    return _describe(metadata, tokens, tensors, find_data_end(metadata, reader.at, tensors))


def _entries(reader: HeaderReader, count: int, tokens: _Tokens) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        key = reader.name()
        if not key:  # also what a file looks like whose download left a hole of zeros
            raise Damaged("its header has a metadata key without a name; download it again")
        yield key, _value(reader, key, tokens)


def _describe(metadata: dict[str, Any], tokens: _Tokens, tensors: list[Tensor], data_end: int) -> GGUFInfo:
    def text(key: str) -> str:
        value = metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def number(key: str) -> int:
        value = metadata.get(key, 0)
        return value if isinstance(value, int) else 0

    architecture = text("general.architecture")
    if metadata.get(f"{architecture}.block_count") == 0:  # with which llama.cpp ends its process
        raise Damaged(f"its `{architecture}.block_count` is 0; download it again")

    def cached_bytes() -> int:
        width, heads = number(f"{architecture}.embedding_length"), number(f"{architecture}.attention.head_count")
        # One number for each layer is read as how many layers there are.
        kept = min(number(f"{architecture}.attention.head_count_kv") or heads, heads)
        lengths = (number(f"{architecture}.attention.{each}_length") for each in ("key", "value"))
        per_layer = sum(length or width // max(heads, 1) for length in lengths) * kept
        return 2 * number(f"{architecture}.block_count") * per_layer

    return GGUFInfo(
        architecture=architecture,
        kind="mmproj" if architecture == PROJECTOR else text("general.type") or "model",
        name=text("general.name"),
        size_label=text("general.size_label"),
        file_type=number("general.file_type") if "general.file_type" in metadata else None,
        context_length=number(f"{architecture}.context_length"),
        embedding_length=number(f"{architecture}.embedding_length"),
        block_count=number(f"{architecture}.block_count"),
        pooling_type=number(f"{architecture}.pooling_type") if f"{architecture}.pooling_type" in metadata else None,
        is_causal=metadata.get(f"{architecture}.attention.causal") is not False,
        infills=_infills(metadata, tokens),
        vocab_size=number(TOKENS),
        has_tokenizer="tokenizer.ggml.model" in metadata,
        chat_template=text(TEMPLATE) or None,
        projector=next(filter(None, map(text, PROJECTORS)), ""),
        sees=metadata.get("clip.has_vision_encoder") is True,
        sampling={name: metadata[key] for key, name in SAMPLING.items() if is_number(metadata.get(key))},
        tensor_count=len(tensors),
        parameter_count=sum(tensor.elements for tensor in tensors),
        layer_bytes=layer_bytes(tensors),
        split_count=number("split.count"),
        data_end=data_end,
        cached_bytes=cached_bytes(),
    )


def _infills(metadata: dict[str, Any], tokens: _Tokens) -> bool:
    found = {INFILL[text] for text in tokens.infill}
    return all(kind in found or any(key in metadata for key in keys) for kind, keys in INFILL_KEYS.items())
