"""How much of a model goes to this machine's GPUs: what fits into their memory, where the YAML leaves it open.

Owns the estimate and the order in which slots, context and layers are given up. Knows no context and no weights.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localai_flask.backends.llama_cpp.model.context import USUAL_STREAMS, Shape, uses_gpu
from localai_flask.backends.llama_cpp.model.devices import chosen_gpus, read_memory
from localai_flask.backends.llama_cpp.model.library import lib
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.config.files.gguf import inspect
from localai_flask.config.traits import choose_context

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Demand:
    """What a model takes on GPUs, in bytes: its layers, the first one first, and a token in the cache of each."""

    layers: tuple[int, ...]
    output: int
    token: int

    def total(self, cells: int) -> int:
        return self.output + sum(self.layers) + len(self.layers) * self.token * cells

    def layers_in(self, room: int, cells: int) -> int:
        """Count the layers that fit, the last ones and the output first, as llama.cpp moves them."""
        count = 0
        for size in (self.output, *(layer + self.token * cells for layer in reversed(self.layers))):
            room -= size
            if room < 0:
                break
            count += 1
        return count


def fit_to_gpus(path: Path, options: EngineOptions) -> EngineOptions:
    """Settle how many layers, slots and tokens the GPUs hold, as far as nobody has chosen them.

    Where other machines take part, or tensors are placed by name, the YAML has to say how many layers there are.
    """
    is_placed = bool(options.override_tensor or options.cpu_moe or options.n_cpu_moe or options.rpc_servers)
    if not options.fit_params or is_placed or not uses_gpu(options):
        return options
    free = [read_memory(gpu)[0] for gpu in chosen_gpus(options.devices, options.split_mode, options.main_gpu)]
    measured = _measure(path, options)
    if not all(free) or measured is None:  # a device that tells nothing, or a file that the loading will explain
        return options
    demand, trained = measured
    context_size = choose_context(options.context_size, trained)
    return fit(options, demand, usable(free, options.tensor_split, options.fit_target_bytes), context_size, path.name)


def fit(options: EngineOptions, demand: Demand, room: int, context_size: int, name: str) -> EngineOptions:
    """Halve first the slots, then the context, then leave layers to the processor, until the rest fits."""
    slots = wanted = options.parallel or USUAL_STREAMS
    tokens = context_size
    while options.parallel is None and slots > 1 and demand.total(slots * tokens) > room:
        slots //= 2
    least = min(options.fit_context, context_size)
    while options.context_size is None and tokens > least and demand.total(slots * tokens) > room:
        tokens = max(tokens // 2, least)
    if options.gpu_layers is None and demand.total(slots * tokens) > room:
        count = demand.layers_in(room, slots * tokens)
        if count == 0:
            log.warning("%s: no layer fits into the GPU's memory; the processor computes them all", name)
            return replace(options, gpu_layers=0)
        log.warning(
            "%s: %d of %d layers fit into the GPU's memory; the processor computes the others",
            *(name, count, len(demand.layers) + 1),
        )
        options = replace(options, gpu_layers=count)
    if (slots, tokens) != (wanted, context_size):
        log.warning(
            "%s: made the cache fit into the GPU's memory: %d × %d tokens instead of %d × %d",
            *(name, slots, tokens, wanted, context_size),
        )
        options = replace(options, parallel=slots, context_size=tokens)
    return options


def usable(free: list[int], shares: tuple[float, ...], margins: tuple[int, ...]) -> int:
    """Return how many bytes fit onto devices with this much free memory, each given its share and left its margin.

    Without shares llama.cpp gives each as much as it has free; the last margin counts for the devices behind it too.
    """
    margins += margins[-1:] * (len(free) - len(margins))
    rooms = [max(each - margin, 0) for each, margin in zip(free, margins, strict=False)]
    weights = [*shares[: len(free)], *[0.0] * (len(free) - len(shares))] if shares else [float(each) for each in free]
    return int(min((room * sum(weights) / weight for room, weight in zip(rooms, weights, strict=True) if weight)))


def _measure(path: Path, options: EngineOptions) -> tuple[Demand, int] | None:
    """Read the size of a model's parts and its trained context, without its weights."""
    params = lib.llama_model_default_params()
    params.no_alloc, params.load_mode, params.n_gpu_layers = True, lib.LLAMA_LOAD_MODE_NONE, 0
    info = inspect(path, with_vocabulary=True)  # a damaged vocabulary would end the process
    handle = lib.llama_model_load_from_file(str(path).encode(), params)
    if handle is None:
        return None
    try:
        demand = _demand(handle, info.layer_bytes if info.split_count <= 1 else (), options)
        return demand, int(lib.llama_model_n_ctx_train(handle))
    finally:
        lib.llama_model_free(handle)


def _demand(handle: Any, layers: tuple[int, ...], options: EngineOptions) -> Demand:
    """Describe a model; one in several files counts as of equal layers, as a header knows only its own file's."""
    count, size = int(lib.llama_model_n_layer(handle)), int(lib.llama_model_size(handle))
    if len(layers) < count:
        layers = (size // (count + 1),) * count
    shape = Shape.of(handle)
    token = 0 if options.no_kv_offloading else shape.cache_bytes(options, 1) // max(shape.layers, 1)
    # Of embeddings and output one goes to the GPU; where a model has one tensor for both, it is copied there.
    return Demand(layers, size - sum(layers), token)
