"""Maker of tiny GGUF models: random weights of several architectures, and one whose answer is written in its weights.

All share one vocabulary: every byte is a token, so characters may be split; every printable ASCII character is one too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6

UNK, BOS, OLD_END, FIRST_BYTE = 0, 1, 2, 3
IM_START, IM_END, TOOL_CALL, FIRST_ASCII = 259, 260, 261, 262

TOKENS: list[tuple[bytes, int]] = [
    (b"<unk>", UNKNOWN),
    (b"<s>", CONTROL),
    (b"</s>", CONTROL),
    *((b"<0x%02X>" % byte, BYTE) for byte in range(256)),
    (b"<|im_start|>", CONTROL),
    (b"<|im_end|>", CONTROL),
    (b"<tool_call>", USER_DEFINED),
    *(("\u2581".encode() if code == 32 else bytes([code]), NORMAL) for code in range(32, 127)),
]
TRAINED_CONTEXT = 4096
FIM_MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>")
"""What vocabularies have that can write the middle of a text; the library knows them by their names."""
FIM_PREFIX, FIM_SUFFIX, FIM_MIDDLE, FIM_PAD = range(len(TOKENS), len(TOKENS) + len(FIM_MARKS))

SAYING = (
    *(FIRST_ASCII + ord(char) - 32 for char in ">The"),
    *(FIRST_BYTE + value for value in "é€".encode()),
    TOOL_CALL,
    *(FIRST_ASCII + ord(char) - 32 for char in " cat"),
    *(FIRST_BYTE + value for value in "😀".encode()),
    IM_END,
)
"""A chain for `chain_model` with characters over several tokens, a marker, and an end."""

MIDDLE = (FIM_MIDDLE, *(FIRST_ASCII + ord(char) - 32 for char in "mid le"), FIM_PAD)
"""A chain that follows the mark of a middle and ends as models do that have filled a gap."""

Weights = Iterable[tuple[str, np.ndarray]]


def character(char: str) -> int:
    """Return the token of a printable ASCII character."""
    return FIRST_ASCII + ord(char) - 32


def byte(value: int) -> int:
    """Return the token that stands for one byte."""
    return FIRST_BYTE + value


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Mapping[str, float | list[int]],
    weights: Weights,
    bos: bool = True,
    tool_template: str = "",
    marks: Sequence[str] = (),
) -> Path:
    """Write a model with the common vocabulary and the control tokens `marks`.

    `metadata` lacks the architecture's prefix.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    for key, value in {"context_length": TRAINED_CONTEXT, "attention.layer_norm_rms_epsilon": 1e-5, **metadata}.items():
        kinds = {int: writer.add_uint32, float: writer.add_float32, list: writer.add_array}
        kinds[type(value)](f"{architecture}.{key}", value)
    _write_vocabulary(writer, bos, [*TOKENS, *((mark.encode(), CONTROL) for mark in marks)])
    if tool_template:
        writer.add_string("tokenizer.chat_template.tool_use", tool_template)
    for name, array in weights:
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_vocabulary(writer: gguf.GGUFWriter, bos: bool, tokens: Sequence[tuple[bytes, int]]) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kind for _, kind in tokens])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(IM_END)
    writer.add_unk_token_id(UNK)
    writer.add_add_bos_token(bos)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _matrix(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    return (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)


def random_llama(
    path: Path,
    seed: int = 0,
    layers: int = 2,
    width: int = 32,
    architecture: str = "llama",
    tool_template: str = "",
    printable: bool = False,
    marks: Sequence[str] = (),
) -> Path:
    """Write a Llama with random weights; its greedy text wanders through the vocabulary, to which `marks` are added.

    If it is `printable`, only through its ASCII characters: all other tokens have a logit of 0.
    """
    size = len(TOKENS) + len(marks)
    heads, kv_heads, ff = 4, 2, 2 * width
    head = width // heads
    metadata = {
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": ff,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "rope.dimension_count": head,
    }
    rng = np.random.default_rng(seed)

    def weights() -> Weights:
        yield "token_embd.weight", _matrix(rng, size, width) * 4
        output = _matrix(rng, size, width) * 4
        output[: FIRST_ASCII if printable else 0] = 0
        yield "output.weight", output
        yield "output_norm.weight", np.ones(width, np.float32)
        for layer in range(layers):
            yield from _llama_block(rng, f"blk.{layer}", width, kv_heads * head, ff)

    return write_gguf(path, architecture, metadata, weights(), tool_template=tool_template, marks=marks)


def lora_adapter(
    path: Path, width: int = 32, seed: int = 1, architecture: str = "llama", layers: int = 2, rank: int = 4
) -> Path:
    """Write a LoRA adapter with random weights for the queries and outputs of a `random_llama`."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(rank))
    for layer in range(layers):
        for name in ("attn_q", "attn_output"):
            for part, shape in (("a", (rank, width)), ("b", (width, rank))):
                weight = rng.standard_normal(shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{name}.weight.lora_{part}", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _llama_block(rng: np.random.Generator, block: str, width: int, kv_width: int, ff: int) -> Weights:
    shapes = {
        "attn_q": (width, width),
        "attn_k": (kv_width, width),
        "attn_v": (kv_width, width),
        "attn_output": (width, width),
        "ffn_gate": (ff, width),
        "ffn_up": (ff, width),
        "ffn_down": (width, ff),
    }
    for name, (rows, columns) in shapes.items():
        yield f"{block}.{name}.weight", _matrix(rng, rows, columns)
    for norm in ("attn_norm", "ffn_norm"):
        yield f"{block}.{norm}.weight", np.ones(width, np.float32)


def random_gemma3(path: Path, window: int = 32) -> Path:
    """Write a Gemma 3 of six layers, five of which see only the last `window` tokens."""
    layers, width, heads, ff = 6, 32, 4, 64
    head = width // heads
    metadata = {
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": ff,
        "attention.head_count": heads,
        "attention.head_count_kv": 2,
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.sliding_window": window,
    }
    rng = np.random.default_rng(0)

    def weights() -> Weights:
        yield "token_embd.weight", _matrix(rng, len(TOKENS), width)
        yield "output_norm.weight", np.ones(width, np.float32)
        for block in (f"blk.{layer}" for layer in range(layers)):
            yield from _llama_block(rng, block, width, 2 * head, ff)
            for norm in ("post_attention_norm", "post_ffw_norm"):
                yield f"{block}.{norm}.weight", np.ones(width, np.float32)
            for norm in ("attn_q_norm", "attn_k_norm"):
                yield f"{block}.{norm}.weight", np.ones(head, np.float32)

    return write_gguf(path, "gemma3", metadata, weights())


def random_mamba(path: Path) -> Path:
    """Write a Mamba of two layers: recurrent state instead of a cache of keys and values."""
    layers, width, state, kernel, rank = 2, 32, 8, 4, 2
    inner = 2 * width
    metadata = {
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": inner,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    rng = np.random.default_rng(0)

    def weights() -> Weights:
        yield "token_embd.weight", _matrix(rng, len(TOKENS), width) * 4
        yield "output_norm.weight", np.ones(width, np.float32)
        for block in (f"blk.{layer}" for layer in range(layers)):
            yield f"{block}.attn_norm.weight", np.ones(width, np.float32)
            yield from _mamba_block(rng, block, width, state, kernel, rank)

    return write_gguf(path, "mamba", metadata, weights())


def _mamba_block(rng: np.random.Generator, block: str, width: int, state: int, kernel: int, rank: int) -> Weights:
    inner = 2 * width
    yield f"{block}.ssm_in.weight", _matrix(rng, 2 * inner, width)
    yield f"{block}.ssm_conv1d.weight", _matrix(rng, inner, kernel)
    yield f"{block}.ssm_conv1d.bias", np.zeros(inner, np.float32)
    yield f"{block}.ssm_x.weight", _matrix(rng, rank + 2 * state, inner)
    yield f"{block}.ssm_dt.weight", _matrix(rng, inner, rank)
    yield f"{block}.ssm_dt.bias", np.ones(inner, np.float32)
    yield f"{block}.ssm_a", -np.tile(np.arange(1, state + 1, dtype=np.float32), (inner, 1))
    yield f"{block}.ssm_d", np.ones(inner, np.float32)
    yield f"{block}.ssm_out.weight", _matrix(rng, width, inner)


def random_jamba(path: Path) -> Path:
    """Write a Jamba of four layers: two with a recurrent state, and two with attention over all that came before."""
    width, state, kernel, rank, ff, heads = 32, 8, 4, 2, 64, 4
    kv_heads = [0, 2, 0, 2]
    metadata = {
        "embedding_length": width,
        "block_count": len(kv_heads),
        "feed_forward_length": ff,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "ssm.conv_kernel": kernel,
        "ssm.inner_size": 2 * width,
        "ssm.state_size": state,
        "ssm.time_step_rank": rank,
    }
    rng = np.random.default_rng(0)

    def weights() -> Weights:
        yield "token_embd.weight", _matrix(rng, len(TOKENS), width) * 4
        yield "output_norm.weight", np.ones(width, np.float32)
        for layer, count in enumerate(kv_heads):
            block = f"blk.{layer}"
            whole = _llama_block(rng, block, width, count * width // heads, ff)
            if count:
                yield from whole
                continue
            yield from ((name, array) for name, array in whole if "norm" in name or "ffn" in name)
            yield from _mamba_block(rng, block, width, state, kernel, rank)
            for name, size in (("dt", rank), ("b", state), ("c", state)):
                yield f"{block}.ssm_{name}_norm.weight", np.ones(size, np.float32)

    return write_gguf(path, "jamba", metadata, weights())


def chain_model(path: Path, chain: Sequence[int], bos: bool = True, marks: Sequence[str] = ()) -> Path:
    """Write a model that always follows a token of `chain` with the next one; its tokens must differ.

    Attention and feed-forward layers add nothing, so the last token alone decides: its embedding is a direction of its
    own, and the output layer reads the successor from it. At a temperature of 1 all other tokens are impossible.
    """
    width, size = 512, len(TOKENS) + len(marks)
    metadata = {
        "embedding_length": width,
        "block_count": 1,
        "feed_forward_length": 32,
        "attention.head_count": 8,
        "attention.head_count_kv": 1,
        "rope.dimension_count": width // 8,
    }
    output = np.zeros((size, width), np.float32)
    for before, after in itertools.pairwise(chain):
        output[after, before] = 10.0  # times sqrt(width), which normalization makes of a one: a logit of 226
    rng = np.random.default_rng(0)

    def weights() -> Weights:
        yield "token_embd.weight", np.eye(size, width, dtype=np.float32)
        yield "output.weight", output
        yield "output_norm.weight", np.ones(width, np.float32)
        for name, array in _llama_block(rng, "blk.0", width, width // 8, 32):
            yield name, np.zeros_like(array) if name.endswith(("attn_output.weight", "ffn_down.weight")) else array

    return write_gguf(path, "llama", metadata, weights(), bos, marks=marks)


def random_rwkv7(path: Path) -> Path:
    """Write an RWKV-7 of two layers and two heads; the library computes heads of 64 only."""
    layers, width, head, rank, ff = 2, 128, 64, 8, 128
    metadata = {
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": ff,
        "attention.head_count": 0,
        "attention.layer_norm_epsilon": 1e-5,
        "wkv.head_size": head,
        **{f"attention.{name}_lora_rank": rank for name in ("decay", "iclr", "value_residual_mix", "gate")},
        "token_shift_count": 2,
    }
    rng = np.random.default_rng(0)

    def norm(name: str) -> Weights:
        yield f"{name}.weight", np.ones(width, np.float32)
        yield f"{name}.bias", np.zeros(width, np.float32)

    def weights() -> Weights:
        yield "token_embd.weight", _matrix(rng, len(TOKENS), width) * 4
        yield "output.weight", _matrix(rng, len(TOKENS), width) * 4
        yield from (*norm("token_embd_norm"), *norm("output_norm"))
        for block in (f"blk.{layer}" for layer in range(layers)):
            yield from (*norm(f"{block}.attn_norm"), *norm(f"{block}.attn_norm_2"), *norm(f"{block}.time_mix_ln"))
            for gate in "wavg":
                yield f"{block}.time_mix_{gate}1.weight", _matrix(rng, rank, width)
                yield f"{block}.time_mix_{gate}2.weight", _matrix(rng, width, rank)
            for name in ("w0", "a0", "v0", "k_k", "k_a", "r_k"):
                yield f"{block}.time_mix_{name}.weight", rng.random(width, np.float32)
            yield f"{block}.time_mix_lerp_fused.weight", rng.random((6, 1, 1, width), np.float32)
            for name in ("key", "value", "receptance", "output"):
                yield f"{block}.time_mix_{name}.weight", _matrix(rng, width, width)
            yield f"{block}.channel_mix_lerp_k.weight", rng.random(width, np.float32)
            yield f"{block}.channel_mix_key.weight", _matrix(rng, ff, width)
            yield f"{block}.channel_mix_value.weight", _matrix(rng, width, ff)

    return write_gguf(path, "rwkv7", metadata, weights())
