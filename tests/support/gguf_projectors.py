"""Maker of tiny GGUF models that see: a projector of each kind of llama.cpp's, and the language model behind it.

Their weights are random, so what they say of an image means nothing, but another image changes it.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.support.gguf_models import TOKENS, Weights, _llama_block, _matrix, random_gemma3, random_llama, write_gguf

WIDTH, FF, LAYERS, HEADS, PATCH = 16, 32, 1, 2, 4
IMAGE_SIZE = {"idefics3": 16, "qwen2vl_merger": 56, "gemma3": 32}
SLICE_MARKS = ("<fake_token_around_image>", "<global-img>", "\n\n")
"""What an idefics3 looks for in the vocabulary of its language model, beside the byte tokens."""


def write_projector(path: Path, kind: str, width: int = 32, called: str = "") -> Path:
    """Write a projector of a kind, or `called` otherwise, for a language model with embeddings of this width."""
    size, rng = IMAGE_SIZE[kind], np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "clip")
    writer.add_type("mmproj")
    writer.add_string("clip.projector_type", called or kind)
    writer.add_bool("clip.has_vision_encoder", True)
    writer.add_bool("clip.use_gelu", True)
    for key, value in {
        "embedding_length": WIDTH,
        "feed_forward_length": FF,
        "block_count": LAYERS,
        "projection_dim": width,
        "attention.head_count": HEADS,
        "image_size": size,
        "patch_size": PATCH,
        "projector.scale_factor": 2,
    }.items():
        writer.add_uint32(f"clip.vision.{key}", value)
    if kind == "idefics3":
        writer.add_uint32("clip.vision.preproc_image_size", 2 * size)
    writer.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-6)
    for key in ("image_mean", "image_std"):
        writer.add_array(f"clip.vision.{key}", [0.5] * 3)
    for name, array in _weights(kind, width, rng):
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _weights(kind: str, width: int, rng: np.random.Generator) -> Weights:
    def patches() -> np.ndarray:
        return rng.standard_normal((WIDTH, 3, PATCH, PATCH)).astype(np.float32)

    yield "v.patch_embd.weight", patches()
    if kind == "qwen2vl_merger":
        yield "v.patch_embd.weight.1", patches()
    else:
        yield "v.patch_embd.bias", np.zeros(WIDTH, np.float32)
        yield "v.position_embd.weight", _matrix(rng, (IMAGE_SIZE[kind] // PATCH) ** 2, WIDTH)
    for block in (f"v.blk.{layer}" for layer in range(LAYERS)):
        for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
            yield f"{block}.{name}.weight", _matrix(rng, WIDTH, WIDTH)
            yield f"{block}.{name}.bias", np.zeros(WIDTH, np.float32)
        for name, rows, columns in (("ffn_up", FF, WIDTH), ("ffn_down", WIDTH, FF)):
            yield f"{block}.{name}.weight", _matrix(rng, rows, columns)
            yield f"{block}.{name}.bias", np.zeros(rows, np.float32)
        for name in ("ln1", "ln2"):
            yield f"{block}.{name}.weight", np.ones(WIDTH, np.float32)
            yield f"{block}.{name}.bias", np.zeros(WIDTH, np.float32)
    yield "v.post_ln.weight", np.ones(WIDTH, np.float32)
    yield "v.post_ln.bias", np.zeros(WIDTH, np.float32)
    merged = 4 * WIDTH
    if kind == "idefics3":
        yield "mm.model.fc.weight", _matrix(rng, width, merged) * 4
    elif kind == "qwen2vl_merger":
        yield "mm.0.weight", _matrix(rng, merged, merged)
        yield "mm.0.bias", np.zeros(merged, np.float32)
        yield "mm.2.weight", _matrix(rng, width, merged) * 4
        yield "mm.2.bias", np.zeros(width, np.float32)
    else:
        yield "mm.input_projection.weight", _matrix(rng, WIDTH, width) * 4
        yield "mm.soft_emb_norm.weight", np.ones(WIDTH, np.float32)


def random_qwen2vl(path: Path) -> Path:
    """Write a Qwen 2 VL of two layers, whose tokens have positions in time, height and width."""
    layers, width, heads, ff = 2, 32, 4, 64
    head = width // heads
    metadata = {
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": ff,
        "attention.head_count": heads,
        "attention.head_count_kv": 2,
        "rope.dimension_sections": [2, 1, 1, 0],
    }
    rng = np.random.default_rng(0)

    def weights() -> Weights:
        yield "token_embd.weight", _matrix(rng, len(TOKENS), width) * 4
        yield "output.weight", _matrix(rng, len(TOKENS), width) * 4
        yield "output_norm.weight", np.ones(width, np.float32)
        for block in (f"blk.{layer}" for layer in range(layers)):
            yield from _llama_block(rng, block, width, 2 * head, ff)
            for name, rows in (("attn_q", width), ("attn_k", 2 * head), ("attn_v", 2 * head)):
                yield f"{block}.{name}.bias", np.zeros(rows, np.float32)

    return write_gguf(path, "qwen2vl", metadata, weights())


def seeing_model(folder: Path, kind: str) -> Path:
    """Write a language model and its projector, `mmproj-tiny.gguf`, into a folder of their own; return the model."""
    folder.mkdir(parents=True, exist_ok=True)
    write_projector(folder / "mmproj-tiny.gguf", kind)
    path = folder / "tiny.gguf"
    if kind == "qwen2vl_merger":
        return random_qwen2vl(path)
    if kind == "gemma3":
        return random_gemma3(path)
    return random_llama(path, marks=SLICE_MARKS)
