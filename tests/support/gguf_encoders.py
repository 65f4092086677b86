"""Maker of tiny BERTs with random weights in GGUF: for vectors, and with a head that scores pairs of texts."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, UNK, CLS, SEP, MASK = range(5)
WORDS = ["the", "a", "cat", "dog", "sits", "runs", "on", "mat", "red", "blue", "one", "two", "three"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TOKENS = [*SPECIAL, *(f"\u2581{word}" for word in WORDS), *(f"\u2581{letter}" for letter in LETTERS[1:]), *LETTERS]
"""Words, and letters at their beginning and within; BERT's `##` is written the other way round in GGUF."""
TRAINED_CONTEXT = 64
WIDTH, LAYERS, HEADS, FF = 32, 2, 4, 64


def word(text: str) -> int:
    return TOKENS.index(f"\u2581{text}")


def random_bert(path: Path, pooling: int = 1, classes: int = 0, seed: int = 0) -> Path:
    """Write a BERT; `pooling` is a number of llama.cpp's, and with `classes` it has a head that scores."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_name("tiny bert")
    writer.add_context_length(TRAINED_CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FF)
    writer.add_head_count(HEADS)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType(pooling))
    _write_vocabulary(writer)
    rng = np.random.default_rng(seed)
    for name, shape in _shapes(classes).items():
        writer.add_tensor(name, _values(rng, name, shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_vocabulary(writer: gguf.GGUFWriter) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_token_list(TOKENS)
    writer.add_token_scores([-1000.0] * len(TOKENS))
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_type_count(2)
    writer.add_bos_token_id(CLS)
    writer.add_unk_token_id(UNK)
    writer.add_sep_token_id(SEP)
    writer.add_pad_token_id(PAD)
    writer.add_mask_token_id(MASK)


def _shapes(classes: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (len(TOKENS), WIDTH),
        "token_types.weight": (2, WIDTH),
        "position_embd.weight": (TRAINED_CONTEXT, WIDTH),
        "token_embd_norm.weight": (WIDTH,),
        "token_embd_norm.bias": (WIDTH,),
    }
    for block in (f"blk.{layer}" for layer in range(LAYERS)):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes |= {f"{block}.{name}.weight": (WIDTH, WIDTH), f"{block}.{name}.bias": (WIDTH,)}
        shapes |= {f"{block}.ffn_up.weight": (FF, WIDTH), f"{block}.ffn_up.bias": (FF,)}
        shapes |= {f"{block}.ffn_down.weight": (WIDTH, FF), f"{block}.ffn_down.bias": (WIDTH,)}
        for norm in ("attn_output_norm", "layer_output_norm"):
            shapes |= {f"{block}.{norm}.weight": (WIDTH,), f"{block}.{norm}.bias": (WIDTH,)}
    if classes:
        shapes |= {"cls.weight": (WIDTH, WIDTH), "cls.bias": (WIDTH,)}
        shapes |= {"cls.output.weight": (classes, WIDTH), "cls.output.bias": (classes,)}
    return shapes


def _values(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name.endswith("norm.weight"):
        return np.ones(shape, np.float32)
    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    return (rng.standard_normal(shape) / np.sqrt(WIDTH) * 2).astype(np.float32)
