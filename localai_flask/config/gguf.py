"""What a GGUF file says about itself, read from its header.

Owns the file format's header (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) and the sentences that explain
a file which is not what it should be. Knows no engine: weights are never read, only counted.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.errors import ConfigError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_ENTRIES = 1 << 22
"""More entries than any vocabulary has: a larger count means a damaged header, not a reason to read for minutes."""

TOKENS = "tokenizer.ggml.tokens"

_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in enumerate("BbHhIif?")}
_SCALARS |= {10: _U64, 11: struct.Struct("<q"), 12: struct.Struct("<d")}
_STRING, _ARRAY = 8, 9

# fmt: off
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 30: (1, 2), 28: (1, 8),  # F32 F16 BF16 F64
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),  # I8 I16 I32 I64
    2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),  # Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q8_1
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),  # Q2_K to Q8_K
    16: (256, 66), 17: (256, 74), 22: (256, 82), 18: (256, 98), 21: (256, 110),  # IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S
    19: (256, 50), 29: (256, 56), 20: (32, 18), 23: (256, 136),  # IQ1_S IQ1_M IQ4_NL IQ4_XS
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),  # TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0
}
# fmt: on
"""ggml tensor type to (elements, bytes) of one block."""

_LOOKALIKES = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive or PyTorch checkpoint", "unpack it, or convert the model to GGUF"),
    (b"\x80\x02", "a pickled PyTorch checkpoint", "convert the model to GGUF"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"lmgg", "a GGML file from before GGUF", "download a GGUF version of the model"),
    (b"fmgg", "a GGML file from before GGUF", "download a GGUF version of the model"),
    (b"tjgg", "a GGML file from before GGUF", "download a GGUF version of the model"),
    (b"\0\0\0\0", "an unfinished download (it begins with zeros)", "download it again"),
    (b"<", "a web page", "download the file itself, not the page about it"),
    (b"{", "JSON", "download the .gguf file itself"),
    (b"[", "JSON", "download the .gguf file itself"),
)


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
    vocab_size: int
    has_tokenizer: bool
    chat_template: str | None
    tensor_count: int
    split_count: int
    data_end: int


class _Damaged(Exception):
    """The header contradicts itself; the text completes the sentence "FILE is damaged: …"."""


class _CutOff(Exception):
    """The file ends inside its header."""


def inspect(path: Path, *, with_vocabulary: bool = False, named_by: str = "parameters.model") -> GGUFInfo:
    """Read a GGUF file's header and check that the file is as long as its tensors need.

    With its vocabulary, each token is looked at, which takes some tenths of a second. `named_by` is the key of the YAML
    that names the file.

    Raises `ConfigError` with one sentence that names the file, what is wrong with it, and what to do.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size == 0:
                raise ConfigError(f"{path} is empty; download it again.")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _inspect(path, _Reader(data, size, with_vocabulary))
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; put the model file there or correct `{named_by}`.") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder; name the .gguf file inside it in `{named_by}`.") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check its permissions and its disk.") from error


def _inspect(path: Path, reader: _Reader) -> GGUFInfo:
    data, size = reader.data, reader.size
    if data[:4] != MAGIC:
        raise ConfigError(f"{path} is not a GGUF file: {_looks_like(data[:32])}.")
    try:
        info = _parse(reader)
    except _CutOff:
        raise ConfigError(f"{path} is cut off inside its header, after {size} bytes; download it again.") from None
    except _Damaged as damage:
        raise ConfigError(f"{path} cannot be used: {damage}.") from None
    if info.data_end > size:
        raise ConfigError(f"{path} is cut off: {size} of {info.data_end} bytes; download it again.")
    return info


def _looks_like(head: bytes) -> str:
    if head[4:9] == b"\0\0\0\0{":  # safetensors: the length of a JSON header in 8 bytes, then that header
        return (
            "it looks like safetensors; put the model's whole Hugging Face folder into the models folder "
            "and use `backend: transformers`, or convert the model to GGUF"
        )
    for start, what, advice in _LOOKALIKES:
        if head.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(start):
            return f"it looks like {what}; {advice}"
    return f"it begins with {head[:4]!r} instead of {MAGIC!r}; download it again or convert the model to GGUF"


class _Reader:
    """A position in the header; every read is checked against the end of the file."""

    def __init__(self, data: mmap.mmap, size: int, with_vocabulary: bool):
        self.data, self.size, self.at = data, size, len(MAGIC)
        self.with_vocabulary = with_vocabulary

    def number(self, form: struct.Struct) -> Any:
        try:
            (value,) = form.unpack_from(self.data, self.at)
        except struct.error:
            raise _CutOff from None
        self.at += form.size
        return value

    def text(self) -> str:
        length = self.number(_U64)
        start = self.at
        self.skip(length)
        return self.data[start : self.at].decode("utf-8", "replace")

    def skip(self, length: int) -> None:
        if length > self.size - self.at:
            raise _CutOff
        self.at += length

    def skip_texts(self, count: int) -> None:
        """Step over `count` strings; this loop is nearly all of the time that a header takes."""
        unpack_from, data, at = _U64.unpack_from, self.data, self.at
        try:
            for _ in range(count):
                at += 8 + unpack_from(data, at)[0]
        except (struct.error, OverflowError):  # an absurd length leaves the range of an offset
            raise _CutOff from None
        self.skip(at - self.at)

    def skip_tokens(self, count: int) -> None:
        """Step over the vocabulary; llama.cpp ends the process if two of its tokens have one text."""
        begin = self.at
        self.skip_texts(count)
        unpack_from, header, at = _U64.unpack_from, self.data[begin : self.at], 0
        seen = set()
        for token in range(count):
            end = at + 8 + unpack_from(header, at)[0]
            text = header[at + 8 : end]
            if text in seen and text:
                raise _Damaged(f"its token {token} has the text of another, {text!r}; download it again")
            seen.add(text)
            at = end

    def value(self, key: str) -> Any:
        """Read one metadata value; an array is stepped over and gives its length."""
        kind = self.number(_U32)
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array(key)
        return self.number(_scalar(kind, key))

    def array(self, key: str) -> int:
        kind, count = self.number(_U32), self.number(_U64)
        if count > MAX_ENTRIES:
            raise _Damaged(f"its metadata key {key!r} claims {count} entries; download it again")
        if self.with_vocabulary and key == TOKENS and kind == _STRING:
            self.skip_tokens(count)
        elif kind == _STRING:
            self.skip_texts(count)
        else:
            self.skip(count * _scalar(kind, key).size)
        return int(count)


def _scalar(kind: int, key: str) -> struct.Struct:
    if kind not in _SCALARS:
        raise _Damaged(f"its metadata key {key!r} has the unknown type {kind}; download it again")
    return _SCALARS[kind]


def _parse(reader: _Reader) -> GGUFInfo:
    version = reader.number(_U32)
    if version and version & 0xFFFF == 0:
        raise _Damaged("it is a big-endian GGUF file; download the little-endian one")
    if version not in VERSIONS:
        raise _Damaged(f"it has GGUF version {version}, and versions 2 and 3 are supported; convert the model anew")
    tensor_count, entry_count = reader.number(_U64), reader.number(_U64)
    if max(tensor_count, entry_count) > MAX_ENTRIES:
        raise _Damaged(f"its header claims {tensor_count} tensors and {entry_count} metadata keys; download it again")
    metadata = dict(_entries(reader, entry_count))
    ends = list(_tensor_ends(reader, tensor_count))
    return _describe(metadata, tensor_count, _data_end(metadata, reader.at, ends))


def _entries(reader: _Reader, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        key = reader.text()
        if not key:  # also what a file looks like whose download left a hole of zeros
            raise _Damaged("its header has a metadata key without a name; download it again")
        yield key, reader.value(key)


def _tensor_ends(reader: _Reader, count: int) -> Iterator[int]:
    """Give each tensor's end, in bytes from the start of the data; a type we do not know counts as empty."""
    for _ in range(count):
        name, n_dims = reader.text(), reader.number(_U32)
        if not name or n_dims > 4:
            raise _Damaged(f"its tensor {name!r} claims {n_dims} dimensions; download it again")
        elements = math.prod(reader.number(_U64) for _ in range(n_dims))
        per_block, block_bytes = _BLOCKS.get(reader.number(_U32), (1, 0))
        yield reader.number(_U64) + -(-elements // per_block) * block_bytes


def _data_end(metadata: dict[str, Any], header_end: int, ends: list[int]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise _Damaged(f"its `general.alignment` is {alignment!r}; download it again")
    if not ends:
        return header_end
    return -(-header_end // alignment) * alignment + max(ends)


def _describe(metadata: dict[str, Any], tensor_count: int, data_end: int) -> GGUFInfo:
    def text(key: str) -> str:
        value = metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def number(key: str) -> int:
        value = metadata.get(key, 0)
        return value if isinstance(value, int) else 0

    architecture = text("general.architecture")
    return GGUFInfo(
        architecture=architecture,
        kind=text("general.type") or "model",
        name=text("general.name"),
        size_label=text("general.size_label"),
        file_type=number("general.file_type") if "general.file_type" in metadata else None,
        context_length=number(f"{architecture}.context_length"),
        embedding_length=number(f"{architecture}.embedding_length"),
        block_count=number(f"{architecture}.block_count"),
        pooling_type=number(f"{architecture}.pooling_type") if f"{architecture}.pooling_type" in metadata else None,
        vocab_size=number(TOKENS),
        has_tokenizer="tokenizer.ggml.model" in metadata,
        chat_template=text("tokenizer.chat_template") or None,
        tensor_count=tensor_count,
        split_count=number("split.count"),
        data_end=data_end,
    )
