"""One loaded model: its weights, its context with the KV cache, and the sentences for what can go wrong with them.

Owns every C object that lives as long as the model, and frees them. Knows no jobs.
"""

from __future__ import annotations

import ctypes
import logging
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.llama_cpp.model.adapters import AdapterShelf
from localai_flask.backends.llama_cpp.model.attention import choose_attention
from localai_flask.backends.llama_cpp.model.context import (
    FLASH_ATTENTION,
    choose_size,
    context_params,
    is_elsewhere,
    is_recurrent,
    metadata,
    uses_gpu,
)
from localai_flask.backends.llama_cpp.model.library import NO_CELLS, LogCapture, NoCells, lib
from localai_flask.backends.llama_cpp.model.untouched import free_context, make_context
from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.model.weights import is_out_of_memory, load_weights
from localai_flask.backends.llama_cpp.options.options import EngineOptions
from localai_flask.backends.llama_cpp.scheduling.batch import Batch, Logits
from localai_flask.backends.llama_cpp.scheduling.grain import Grain
from localai_flask.backends.llama_cpp.threads.compute_threads import ComputeThreads
from localai_flask.backends.llama_cpp.vision.opening import open_projector
from localai_flask.backends.llama_cpp.vision.placing import ImageBatch
from localai_flask.config.files.gguf import inspect
from localai_flask.errors import ApiError, ConfigError, ModelLoadFailed, OutOfMemory

if TYPE_CHECKING:
    from localai_flask.backends.llama_cpp.vision.projector import Projector

log = logging.getLogger(__name__)

LOGITS_BYTES = 16 << 20
"""Room for the logits of prompts whose log-probabilities are asked for; a 32nd of the weights if that is more."""
IDLE_PER_SLOT, LEAST_IDLE, MOST_SEQUENCES = 3, 12, 256
"""How many idle sequences the cache can hold beside each slot's own, at least, and all in all: the library's limit."""
CELL_SHARE = 12000
"""Parameters of a model for each layer, head and idle cell, at which idle cells take a 50th of a step's time.

Attention goes over all cells up to the last one in use. A thousand idle ones made steps of 8 streams 6 % slower for a
model of 135 million parameters; a copy of a hundred tokens to the host takes as long as half a token.
"""


class Model:
    """A model ready to decode; `slots` sequences of up to `context_size` tokens share one KV cache."""

    def __init__(self, path: Path, options: EngineOptions, progress: LoadProgress, capture: LogCapture):
        """Load the file; raise `ConfigError` or `ModelLoadFailed` with one sentence."""
        self.path, self.capture = path, capture
        self._threads_set = 0
        self.handle: Any = None
        self.context: Any = None
        self.projector: Projector | None = None
        self.grain: Grain | None = None
        """Where the prompts of lone requests are cut; None: the bits of their logits are left to chance."""
        _check_file(path)
        with ExitStack() as undo:
            undo.callback(self.close)
            self._load_weights(options, progress)
            self._check_kind()
            self.generates = not self._only_pools(options)
            """Whether it writes text; a model that does not has no context here, no slots and no cache."""
            self.projector = open_projector(self.handle, options, capture) if self.generates else None
            self._make_context(options)
            if options.warmup and self.generates:
                self.threads.warm_up()
                if uses_gpu(options):  # kernels are brought to it when they are first needed, and prompts need others
                    self.threads.warm_up(min(self.n_batch, self.context_size))
                self.threads.choose_counts()
            undo.pop_all()
        capture.errors.clear()

    def close(self) -> None:
        """Free the context, then the weights."""
        if self.context is not None:
            free_context(self.context)
        if self.projector is not None:
            self.projector.close()
        if self.handle is not None:
            lib.llama_model_free(self.handle)
        self.context = self.handle = self.projector = None

    def decode(self, batch: Batch | ImageBatch, *, with_prompt: bool, alone: bool = False) -> None:
        """Compute a batch; raise `NoCells` if it does not fit, or `RuntimeError`, which leaves the cache undefined.

        What a lone sequence computes has the same bits however threads wait.
        """
        self.threads.compute(batch, with_prompt=with_prompt, alone=alone)

    def choose_waiting(self, options: EngineOptions) -> None:
        """Measure how threads had better wait, where the processor computes; for one model of the process."""
        if self.generates and options.warmup and not self._is_offloaded(options):
            self.threads.choose_waiting()

    def compute(self, batch: Batch | ImageBatch, threads: int) -> None:
        """Compute a batch with that many threads; raise what `decode` does."""
        if threads != self._threads_set:
            # The library's own rule is one count for single-token batches and one for all others, which would give
            # several streams the count that suits prompts.
            lib.llama_set_n_threads(self.context, threads, threads)
            self._threads_set = threads
        code = lib.llama_decode(self.context, batch.struct)
        lib.llama_synchronize(self.context)  # a GPU has only been told what to do, and time is measured here
        if code == NO_CELLS:
            raise NoCells(f"the cache has no room for {batch.size} tokens")
        if code != 0:
            raise RuntimeError(f"llama_decode failed with code {code} on {batch.size} tokens: {self.capture.cause()}")

    @property
    def description(self) -> str:
        """Return the library's words for the model, such as "llama 1B Q8_0"."""
        buffer = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self.handle, buffer, len(buffer))
        return buffer.value.decode("utf-8", "replace")

    def chat_template(self, name: str | None = None) -> str | None:
        """Return the model's chat template, or the sibling of that name; None if it has none."""
        template = lib.llama_model_chat_template(self.handle, name.encode() if name is not None else None)
        return template.decode("utf-8", "replace") if template is not None else None

    def _load_weights(self, options: EngineOptions, progress: LoadProgress) -> None:
        self.handle = load_weights(self.path, options, progress, self.capture)
        self.adapters = AdapterShelf(self.handle, options.adapters, self.capture)
        self.vocabulary = Vocabulary(lib.llama_model_get_vocab(self.handle))
        self.trained_context: int = lib.llama_model_n_ctx_train(self.handle)
        self.weight_bytes: int = lib.llama_model_size(self.handle)
        self.window: int = lib.llama_model_n_swa(self.handle)
        """Width of the sliding attention window in tokens; 0 if attention sees everything."""
        self.is_hybrid = bool(lib.llama_model_is_hybrid(self.handle))
        self.is_recurrent = is_recurrent(self.handle)

    def harmless_cells(self, options: EngineOptions) -> int:
        """Return how many idle cells slow steps down by some two per cent: fewer, the smaller the model.

        All of them where another device or machine holds the cache: attention is fast there, and copies are slow.
        """
        if is_elsewhere(options):
            return self.slots * self.context_size
        parameters: int = lib.llama_model_n_params(self.handle)
        heads: int = lib.llama_model_n_layer(self.handle) * lib.llama_model_n_head(self.handle)
        return parameters // (CELL_SHARE * max(heads, 1))

    def _is_offloaded(self, options: EngineOptions) -> bool:
        """Return whether next to nothing is computed by this machine's processor."""
        if options.rpc_servers:
            return True
        layers, stays = options.gpu_layers, options.cpu_moe or options.n_cpu_moe or options.override_tensor
        is_whole = layers is None or layers < 0 or layers >= lib.llama_model_n_layer(self.handle)
        return uses_gpu(options) and is_whole and not stays

    @property
    def projector_bytes(self) -> int:
        return self.projector.path.stat().st_size if self.projector is not None else 0

    @property
    def cannot_roll_back(self) -> bool:
        """Whether its memory cannot go back to an earlier token of a sequence."""
        return self.window > 0 or self.is_recurrent

    def _check_kind(self) -> None:
        if self.vocabulary.size == 0:
            raise ConfigError(f"{self.path} has no vocabulary; choose a file that holds a whole model.")
        both = lib.llama_model_has_encoder(self.handle) and lib.llama_model_has_decoder(self.handle)
        if both or lib.llama_model_is_diffusion(self.handle):
            raise ConfigError(
                f"{self.path} ({self.description}) does not generate text token by token, as the llama-cpp backend "
                "does; choose a decoder-only model."
            )

    def _only_pools(self, options: EngineOptions) -> bool:
        """Whether the model was made for vectors or scores alone, or is asked for scores."""
        is_encoder = lib.llama_model_has_encoder(self.handle) or self.metadata("attention.causal") == "false"
        return bool(is_encoder or options.reranking or self.metadata("pooling_type"))

    def metadata(self, key: str) -> str:
        """Read what the file says of its architecture; "" if it does not."""
        return metadata(self.handle, f"{metadata(self.handle, 'general.architecture')}.{key}")

    def _make_context(self, options: EngineOptions) -> None:
        self.slots, self.context_size = choose_size(self.handle, self.path, options)
        room = max(LOGITS_BYTES, self.weight_bytes // 32) // (4 * self.vocabulary.size)
        self.n_outputs: int = max(self.slots, min(room, options.n_batch))
        """Tokens of a batch that may be sampled from."""
        self.sequences: int = self._count_sequences()
        """Sequence ids of the cache: those of running sequences and of idle ones."""
        params = context_params(options, self.slots, self.context_size, self.n_outputs)
        params.n_seq_max = self.sequences
        others = self.capture.caches.copy()
        if self.generates and options.warmup and not self.cannot_roll_back:
            choose_attention(self.handle, params, options, self.slots)
            self.capture.caches = others.copy()  # what was measured with is freed
        if self.projector is not None:  # what is computed as a whole has to fit
            params.n_ubatch = max(params.n_ubatch, self.projector.longest)
            params.n_batch = max(params.n_batch, self.projector.longest)
        self.threads = ComputeThreads(self, options)
        if not self.generates:
            self.slots, self.sequences, self.memory, self.memory_bytes = 0, 0, None, self.weight_bytes
            self.n_batch = options.n_batch
            return
        params.n_threads = params.n_threads_batch = self.threads.decoding
        self.context = make_context(self.handle, params)
        if self.context is None:
            raise self._no_context()
        self.adapters.bind(self.context)
        self.memory = lib.llama_get_memory(self.context)
        if self.memory is None:
            raise ConfigError(
                f"{self.path} ({self.description}) does not write text from left to right, as the llama-cpp backend "
                "does; choose a decoder-only model."
            )
        self.logits = Logits(self.context, self.vocabulary.size)
        self.n_batch = int(lib.llama_n_batch(self.context))
        self.uses_flash = params.flash_attn_type != FLASH_ATTENTION["off"]
        """Whether it may use flash attention, which decides how values lie in the cache."""
        if not is_elsewhere(options):
            self.grain = Grain.of(int(lib.llama_n_ubatch(self.context)), flash=self.uses_flash)
        cache_bytes = self.capture.cache_bytes - others.total()
        self.memory_bytes = self.weight_bytes + cache_bytes
        log.info(
            "%s: %d slots × %d tokens = %.1f MiB of cache",
            *(self.path.name, self.slots, self.context_size, cache_bytes / 2**20),
        )

    def _count_sequences(self) -> int:
        """Return how many sequences the cache is to hold, those that run included.

        Sequences that forget each take memory of their own; of others, idle ones are but numbers on shared cells. The
        library keeps room for the logits of one token of each.
        """
        spare = 0
        if not self.cannot_roll_back:
            spare = min(max(IDLE_PER_SLOT * self.slots, LEAST_IDLE), MOST_SEQUENCES - self.slots)
        return max(self.slots, min(self.slots + spare, self.n_outputs))

    def _no_context(self) -> ApiError:
        """Return why the library cannot make a context, and what to do."""
        cause = self.capture.cause()
        advice = f"lower `context_size` ({self.context_size}) or the option parallel ({self.slots})"
        if "cache type" in cause:
            advice = "choose another `cache_type_k` or `cache_type_v`"
        kind = OutOfMemory if is_out_of_memory(cause) else ModelLoadFailed
        return kind(f"llama.cpp cannot make a context for {self.path}: {cause}; {advice}.")


def _check_file(path: Path) -> None:
    info = inspect(path, with_vocabulary=True)
    if info.kind != "model":
        raise ConfigError(f"{path} is of kind {info.kind!r} and no model; name the model itself in `parameters.model`.")
