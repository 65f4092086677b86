"""Models of real shapes with random weights: real cost, no meaning. And two real ones."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import pytest

from benchmarks.workloads import WORDS
from tests.support.gguf_models import CHAT_TEMPLATE, TOKENS
from tests.support.real_models import fetch_gemma, fetch_smollm2

CHATML = CHAT_TEMPLATE
SHAPES = {
    "wide": {"width": 576, "layers": 30, "heads": 9, "kv_heads": 3, "ff": 1536, "words": 150_000},
    "micro": {"width": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ff": 128, "words": 0},
}
"""*wide* has the shape of a model of 135 million parameters, and a vocabulary of 150,000 tokens."""
REAL = {"smollm2": fetch_smollm2, "gemma": fetch_gemma}
TRAINED_CONTEXT = 32768
LETTERS = np.frombuffer(b'etaoinshrdlucmfwypvbgkjqxz0123456789 _-.,:;"{}[]()', np.uint8)


_silence = llama_cpp.llama_log_callback(lambda *_: None)


def prepared(folder: Path, name: str, vocabulary: Path | None = None) -> Path:
    """Give the file of a model in a folder, made unless it is there already."""
    folder.mkdir(parents=True, exist_ok=True)
    path = (folder / f"{name}.gguf").absolute()
    return path if path.exists() else make(folder, name, vocabulary)


def model_file(folder: Path, name: str) -> Path:
    """Return the file of a model: made in a folder, or fetched; raise `RuntimeError` if that cannot be."""
    if name in SHAPES:
        return prepared(folder, name)
    try:
        return REAL[name]()
    except pytest.skip.Exception as reason:
        raise RuntimeError(str(reason)) from None


def make(folder: Path, name: str, vocabulary: Path | None = None) -> Path:
    """Write a model in Q8_0; a vocabulary-only GGUF gives it real tokens instead of made-up words."""
    plain, path = folder / f"{name}.f16", folder / f"{name}.gguf"
    _write(plain, vocabulary if SHAPES[name]["words"] else None, **SHAPES[name])
    llama_cpp.llama_log_set(_silence, ctypes.c_void_p(0))
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0
    if llama_cpp.llama_model_quantize(str(plain).encode(), str(path).encode(), params) != 0:
        raise RuntimeError(f"cannot quantize {plain}")
    plain.unlink()
    return path


def _write(
    path: Path, vocabulary: Path | None, *, width: int, layers: int, heads: int, kv_heads: int, ff: int, words: int
) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    size = _copy_vocabulary(writer, vocabulary) if vocabulary else _make_vocabulary(writer, words)
    writer.add_chat_template(CHATML)
    writer.add_name(path.stem)
    writer.add_vocab_size(size)
    writer.add_context_length(TRAINED_CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(width // heads)
    writer.add_layer_norm_rms_eps(1e-5)
    rng = np.random.default_rng(0)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = rng.standard_normal((rows, columns), dtype=np.float32) / np.sqrt(columns)
        writer.add_tensor(f"{name}.weight", values.astype(np.float16))

    matrix("token_embd", size, width)
    writer.add_tensor("output_norm.weight", np.ones(width, np.float32))
    kv_width = width // heads * kv_heads
    for block in (f"blk.{layer}." for layer in range(layers)):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{norm}.weight", np.ones(width, np.float32))
        for name, rows in (("attn_q", width), ("attn_k", kv_width), ("attn_v", kv_width), ("attn_output", width)):
            matrix(block + name, rows, width)
        for name, rows, columns in (("ffn_gate", ff, width), ("ffn_up", ff, width), ("ffn_down", width, ff)):
            matrix(block + name, rows, columns)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _make_vocabulary(writer: gguf.GGUFWriter, words: int) -> int:
    """Write the tests' vocabulary of bytes and characters, and words: the loads' own, and of random characters.

    SentencePiece puts a word together from its beginning on, so that all its beginnings are there.
    """
    rng = np.random.default_rng(1)
    known = {text for text, _ in TOKENS}
    beginnings = dict.fromkeys(f"\u2581{word[: end + 1]}".encode() for word in WORDS for end in range(len(word)))
    tokens = [*TOKENS, *((text, 1) for text in beginnings if text not in known)]
    known.update(beginnings)
    words -= len(tokens) - len(TOKENS)
    while words > 0:
        text = LETTERS[rng.integers(len(LETTERS), size=int(rng.integers(2, 10)))].tobytes()
        text = text.replace(b" ", "\u2581".encode())
        if text not in known:
            known.add(text)
            tokens.append((text, 1))
            words -= 1
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(260)
    writer.add_unk_token_id(0)
    return len(tokens)


def _copy_vocabulary(writer: gguf.GGUFWriter, path: Path) -> int:
    fields = gguf.GGUFReader(path).fields
    for key, field in fields.items():
        if key.startswith("tokenizer.") and key != "tokenizer.chat_template":
            writer.add_key_value(key, field.contents(), field.types[0], *field.types[1:2])
    return len(fields["tokenizer.ggml.tokens"].data)
