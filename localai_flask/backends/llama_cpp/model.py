"""One loaded model: its weights, its context with the KV cache, and the sentences for what can go wrong with them.

Owns every C object that lives as long as the model, and frees them. Knows no jobs.
"""

from __future__ import annotations

import ctypes
import logging
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.llama_cpp.batch import Batch, Logits
from localai_flask.backends.llama_cpp.library import LogCapture, has_gpu, lib
from localai_flask.backends.llama_cpp.machine import available_memory, physical_cores
from localai_flask.backends.llama_cpp.options import EngineOptions
from localai_flask.backends.llama_cpp.vocabulary import Vocabulary
from localai_flask.config.gguf import inspect
from localai_flask.errors import ConfigError, ModelLoadFailed

log = logging.getLogger(__name__)

DEFAULT_CONTEXT = 8192
DEFAULT_SLOTS = 4
BYTES_PER_THREAD = 8 << 20
"""Weights that are worth a thread in a step without prompts: a core reads them in about a millisecond, and waking
another thread for each matrix costs as much."""


class Model:
    """A model ready to decode; `slots` sequences of up to `context_size` tokens share one KV cache."""

    def __init__(self, path: Path, options: EngineOptions, progress: LoadProgress, capture: LogCapture):
        """Load the file; raise `ConfigError` or `ModelLoadFailed` with one sentence."""
        self.path, self.capture = path, capture
        self._threads_set = 0
        self.handle: Any = None
        self.context: Any = None
        _check_file(path)
        with ExitStack() as undo:
            undo.callback(self.close)
            self._load_weights(options, progress)
            self._check_kind()
            self._make_context(options)
            if options.warmup:
                self._warm_up()
            undo.pop_all()
        capture.errors.clear()

    def close(self) -> None:
        """Free the context, then the weights."""
        if self.context is not None:
            lib.llama_free(self.context)
        if self.handle is not None:
            lib.llama_model_free(self.handle)
        self.context = self.handle = None

    def decode(self, batch: Batch, *, with_prompt: bool) -> None:
        """Compute a batch; raise `RuntimeError` if the library cannot, which leaves the cache undefined."""
        threads = self.threads_batch if with_prompt else self.threads
        if threads != self._threads_set:
            # The library's own rule is one count for single-token batches and one for all others, which would give
            # several streams the count that suits prompts.
            lib.llama_set_n_threads(self.context, threads, threads)
            self._threads_set = threads
        code = lib.llama_decode(self.context, batch.struct)
        if code != 0:
            raise RuntimeError(f"llama_decode failed with code {code} on {batch.size} tokens: {self.capture.cause()}")

    @property
    def description(self) -> str:
        """Tell the library's words for the model, such as "llama 1B Q8_0"."""
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    @property
    def chat_template(self) -> str | None:
        template = lib.llama_model_chat_template(self.handle, None)
        return template.decode("utf-8", "replace") if template is not None else None

    def _load_weights(self, options: EngineOptions, progress: LoadProgress) -> None:
        params = lib.llama_model_default_params()
        if options.gpu_layers is not None:
            params.n_gpu_layers = options.gpu_layers
        params.load_mode = options.load_mode
        params.check_tensors = options.check_tensors

        def report(fraction: float, _: Any) -> bool:
            progress(fraction)
            return True

        params.progress_callback = callback = lib.llama_progress_callback(report)
        self.handle = lib.llama_model_load_from_file(str(self.path).encode(), params)
        del callback  # kept until here: the library calls it during the load only
        if self.handle is None:
            raise ModelLoadFailed(self._explain())
        self.vocabulary = Vocabulary(lib.llama_model_get_vocab(self.handle))
        self.trained_context: int = lib.llama_model_n_ctx_train(self.handle)
        self.weight_bytes: int = lib.llama_model_size(self.handle)
        self.window: int = lib.llama_model_n_swa(self.handle)
        """Width of the sliding attention window in tokens; 0 if attention sees everything."""
        self.is_recurrent: bool = lib.llama_model_is_recurrent(self.handle) or lib.llama_model_is_hybrid(self.handle)

    def _explain(self) -> str:
        cause = self.capture.cause()
        if unknown := re.search(r"unknown model architecture: '(.*)'", cause):
            return (
                f"{self.path} has the architecture {unknown[1]!r}, which this version of llama.cpp does not know; "
                "upgrade llama-cpp-python or choose another model."
            )
        return f"llama.cpp cannot load {self.path}: {cause}; download the file again or choose another."

    def _check_kind(self) -> None:
        if self.vocabulary.size == 0:
            raise ConfigError(f"{self.path} has no vocabulary; choose a file that holds a whole model.")
        if lib.llama_model_has_encoder(self.handle) or lib.llama_model_is_diffusion(self.handle):
            raise ConfigError(
                f"{self.path} ({self.description}) does not generate text token by token, as the llama-cpp backend "
                "does; choose a decoder-only model."
            )

    def _make_context(self, options: EngineOptions) -> None:
        self.context_size = options.context_size or min(self.trained_context or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
        self.slots = options.parallel or self._default_slots(options)
        self._check_memory(options)
        self._choose_threads(options)
        self.context = lib.llama_init_from_model(self.handle, self._context_params(options))
        if self.context is None:
            raise ModelLoadFailed(
                f"llama.cpp cannot make a context for {self.path}: {self.capture.cause()}; "
                f"lower `context_size` ({self.context_size}) or the option parallel ({self.slots})."
            )
        self.memory = lib.llama_get_memory(self.context)
        if self.memory is None:
            raise ConfigError(
                f"{self.path} ({self.description}) makes embeddings, and the llama-cpp backend only generates text; "
                "choose a model that does."
            )
        self.logits = Logits(self.context, self.vocabulary.size)
        self.n_batch: int = lib.llama_n_batch(self.context)
        self.memory_bytes = self.weight_bytes + self.capture.cache_bytes
        log.info(
            "%s: %d slots × %d tokens = %.1f MiB of cache; %d threads, %d for prompts",
            *(self.path.name, self.slots, self.context_size, self.capture.cache_bytes / 2**20),
            *(self.threads, self.threads_batch),
        )

    def _context_params(self, options: EngineOptions) -> Any:
        params = lib.llama_context_default_params()
        params.n_ctx = self.slots * self.context_size
        params.n_seq_max = self.slots
        params.kv_unified = True
        params.n_batch = max(options.n_batch, self.slots)
        params.n_ubatch = max(options.n_ubatch, self.slots)
        # Each sequence is sampled once per step; the default of one output per batch position would reserve
        # n_batch × vocabulary floats (311 MB for 152k tokens).
        params.n_outputs_max = self.slots
        params.n_threads = params.n_threads_batch = self.threads
        params.type_k, params.type_v = options.cache_type_k, options.cache_type_v
        params.op_offload = not options.no_op_offload
        params.swa_full = options.swa_full
        params.no_perf = True
        return params

    def _choose_threads(self, options: EngineOptions) -> None:
        cores = options.threads_batch or physical_cores()
        self.threads_batch = cores
        self.threads = options.threads or min(cores, max(1, self.weight_bytes // BYTES_PER_THREAD))

    def _cache_bytes(self, options: EngineOptions, slots: int) -> int:
        """Estimate the cache's size by the layers' shapes; too high for sliding windows, 0 where they are not told."""
        heads = lib.llama_model_n_head_kv(self.handle)
        width = lib.llama_model_n_embd(self.handle) // max(lib.llama_model_n_head(self.handle), 1)
        architecture = self._metadata("general.architecture")
        key = int(self._metadata(f"{architecture}.attention.key_length") or width)
        value = int(self._metadata(f"{architecture}.attention.value_length") or width)
        item = 4 if options.cache_type_k == lib.GGML_TYPE_F32 else 2
        return int(lib.llama_model_n_layer(self.handle) * heads * (key + value) * item * self.context_size * slots)

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(128)
        lib.llama_model_meta_val_str(self.handle, key.encode(), buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def _default_slots(self, options: EngineOptions) -> int:
        slots, budget = DEFAULT_SLOTS, available_memory() // 2
        while slots > 1 and self._cache_bytes(options, slots) > budget:
            slots //= 2
        return slots

    def _check_memory(self, options: EngineOptions) -> None:
        """Refuse a cache that cannot fit: Linux would hand out the memory and kill the process when it is touched."""
        needed, free = self._cache_bytes(options, self.slots), available_memory()
        is_on_gpu = options.gpu_layers != 0 and has_gpu()
        if needed > free and not is_on_gpu and self.window == 0:
            raise ConfigError(
                f"The cache for {self.path} needs {needed / 2**30:.1f} GiB ({self.slots} × {self.context_size} tokens) "
                f"and {free / 2**30:.1f} GiB of memory are free; lower `context_size` or the option parallel.",
                param="context_size",
            )

    def _warm_up(self) -> None:
        """Decode one token, so that the first request does not wait for pages of the file and for buffers."""
        batch = Batch(1)
        batch.add_tokens([max(self.vocabulary.bos, 0)], [0], [0])
        self.decode(batch, with_prompt=False)
        lib.llama_memory_clear(self.memory, True)


def _check_file(path: Path) -> None:
    info = inspect(path)
    if info.kind != "model":
        raise ConfigError(f"{path} is of kind {info.kind!r} and no model; name the model itself in `parameters.model`.")
