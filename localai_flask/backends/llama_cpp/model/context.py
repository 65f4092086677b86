"""From options to the context of a model: how many sequences of how many tokens, and what its cache takes.

Owns the parameters of the C call and the estimates by which they are made to fit into memory.
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localai_flask.backends.llama_cpp.model.library import ggml, has_gpu, lib
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.config.traits import choose_context
from localai_flask.errors import ConfigError, OutOfMemory
from localai_flask.machine import available_memory, resident_memory, total_memory

log = logging.getLogger(__name__)

USUAL_STREAMS = 4
"""How many sequences run at once on a busy day: as many slots there are where memory allows, and steps of as many are
measured.
"""
MOST_SLOTS, WIDE_SHARE = 16, 8
"""Where nobody has chosen, slots are doubled up to the most while their cache takes no more than one part in
`WIDE_SHARE` of the memory that is free: on two cores, steps of SmolLM2 for 16 sequences compute 1.6 times as many
tokens in a second as those for 4.
"""
FLASH_ATTENTION = {"auto": -1, "off": 0, "false": 0, "on": 1, "true": 1}  # llama_flash_attn_type
ROPE_SCALING = {"none": 0, "linear": 1, "yarn": 2, "longrope": 3}  # llama_rope_scaling_type

_row_size = ggml("ggml_row_size", ctypes.c_size_t, ctypes.c_int, ctypes.c_int64)


@dataclass(frozen=True)
class Shape:
    """What one token takes in the cache: `layers` times a key and a value, whose lengths these are in numbers."""

    layers: int
    key: int
    value: int

    @classmethod
    def of(cls, handle: Any) -> Shape:
        """Read a model's shape; layers with other shapes or without a cache are not told apart."""
        heads = lib.llama_model_n_head_kv(handle)
        width = lib.llama_model_n_embd(handle) // max(lib.llama_model_n_head(handle), 1)
        architecture = metadata(handle, "general.architecture")
        key, value = (metadata(handle, f"{architecture}.attention.{what}_length") for what in ("key", "value"))
        return cls(lib.llama_model_n_layer(handle), heads * int(key or width), heads * int(value or width))

    def cache_bytes(self, options: EngineOptions, tokens: int) -> int:
        """Estimate a cache's size: too high for sliding windows, 0 where the shape is not told."""
        if not self.key:
            return 0
        sizes = _row_size(options.cache_type_k, self.key), _row_size(options.cache_type_v, self.value)
        return int(self.layers * sum(sizes) * tokens)


def metadata(handle: Any, key: str) -> str:
    """Read a value of the model file as text; "" if there is none."""
    buffer = ctypes.create_string_buffer(128)
    lib.llama_model_meta_val_str(handle, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace")


def choose_size(handle: Any, path: Path, options: EngineOptions) -> tuple[int, int]:
    """Choose how many slots of how many tokens there will be; what the YAML leaves open is made to fit into memory.

    Raises `ConfigError` or `OutOfMemory` if the cache cannot fit: Linux would hand out the memory and kill the process
    when it is used.
    """
    trained = lib.llama_model_n_ctx_train(handle)
    context_size = choose_context(options.context_size, trained)
    if 0 < trained < context_size and not options.rope_scaling:
        log.warning("%s was trained for %d tokens; answers beyond them may be nonsense", path.name, trained)
    slots = options.parallel or USUAL_STREAMS
    if is_elsewhere(options):  # only the library knows how much will lie where, and it says so when that does not fit
        return slots, context_size
    shape = Shape.of(handle)
    if options.fit_params:
        # Weights come into memory as they are first used; what is not there yet is to have room beside the cache.
        coming = max(lib.llama_model_size(handle) - resident_memory(), 0)
        room = available_memory() - coming - options.fit_target_bytes[0]
        slots, context_size = _fit(options, shape, room, slots, context_size)
        if options.parallel is None and not is_recurrent(handle):
            slots = widen(slots, min(MOST_SLOTS, options.n_batch), room, shape.cache_bytes(options, context_size))
    needed = shape.cache_bytes(options, slots * context_size)
    free = available_memory(with_mapped=True)  # for what was asked for, weights may have to be read again
    if needed > free and lib.llama_model_n_swa(handle) == 0:
        # Beside other models it has no room now, and would have alone.
        kind = OutOfMemory if needed <= total_memory() else ConfigError
        raise kind(
            f"The cache for {path} needs {needed / 2**30:.1f} GiB ({slots} × {context_size} tokens) "
            f"and {free / 2**30:.1f} GiB of memory are free; lower `context_size` or the option parallel.",
            param="context_size",
        )
    return slots, context_size


def _fit(options: EngineOptions, shape: Shape, room: int, slots: int, context_size: int) -> tuple[int, int]:
    """Halve first the slots, then the context, if nobody has chosen them, until the cache fits into the room."""
    wanted = slots, context_size
    while options.parallel is None and slots > 1 and shape.cache_bytes(options, slots * context_size) > room // 2:
        slots //= 2
    least = min(options.fit_context, context_size)
    while (
        options.context_size is None
        and context_size > least
        and shape.cache_bytes(options, slots * context_size) > room
    ):
        context_size = max(context_size // 2, least)
    if (slots, context_size) != wanted:
        log.warning("made the cache fit into memory: %d × %d tokens instead of %d × %d", slots, context_size, *wanted)
    return slots, context_size


def widen(slots: int, most: int, room: int, slot_bytes: int) -> int:
    """Return how many slots there may be, `slots` or more, whose cache takes but a small part of `room` bytes."""
    while 2 * slots <= most and 2 * slots * slot_bytes <= room // WIDE_SHARE:
        slots *= 2
    return slots


def context_params(options: EngineOptions, slots: int, context_size: int, n_outputs: int) -> Any:
    """Make the parameters of a context in which `n_outputs` tokens of a batch may be sampled from."""
    params = lib.llama_context_default_params()
    params.n_ctx = slots * context_size
    params.n_seq_max = slots
    params.kv_unified = True
    params.n_batch = max(options.n_batch, slots)
    params.n_ubatch = max(options.n_ubatch or options.n_batch, slots)
    params.n_rs_seq = options.n_rs_seq
    # The default of one output per batch position would reserve n_batch × vocabulary floats (311 MB for 152k tokens).
    params.n_outputs_max = n_outputs
    params.type_k, params.type_v = options.cache_type_k, options.cache_type_v
    params.flash_attn_type = FLASH_ATTENTION[options.flash_attention]
    params.offload_kqv = not options.no_kv_offloading
    params.op_offload = not options.no_op_offload
    params.swa_full = options.swa_full
    params.no_perf = True
    if options.rope_scaling:
        params.rope_scaling_type = ROPE_SCALING[options.rope_scaling]
    for name, value in options.rope.items():
        setattr(params, name, value)
    return params


def is_recurrent(handle: Any) -> bool:
    """Return whether sequences have states, which take memory of their own each, beside a cache or in its place."""
    return bool(lib.llama_model_is_recurrent(handle) or lib.llama_model_is_hybrid(handle))


def is_elsewhere(options: EngineOptions) -> bool:
    """Return whether a model and its cache lie, at least in part, in other memory than the processor's."""
    return bool(options.rpc_servers) or uses_gpu(options)


def uses_gpu(options: EngineOptions) -> bool:
    """Return whether layers may lie on a GPU of this machine."""
    names = {name.lower() for name in options.devices}
    return options.gpu_layers != 0 and (not names or bool(names - {"none", "cpu"})) and has_gpu()
