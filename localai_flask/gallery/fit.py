"""Whether a model will run on this machine, estimated before it is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from localai_flask.config.engines.facts import facts
from localai_flask.config.memory import cache_bytes
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import choose_context
from localai_flask.errors import NoRoom
from localai_flask.gallery.progress import gigabytes
from localai_flask.gallery.sources import Access, RemoteFile
from localai_flask.gallery.transport.remote_header import read_header

WEIGHTS = (".gguf", ".safetensors", ".bin", ".pth")


class Fit(NamedTuple):
    """What a model takes in memory, in bytes; a low estimate, as in `pool.memory_need`."""

    weights: int
    cache: int
    context: int
    """The tokens that the cache is for; 0 if the header could not be read."""
    rest: int
    memory: int
    """What models may take here; 0 if nobody knows."""

    @property
    def need(self) -> int:
        return self.weights + self.cache + self.rest

    @property
    def is_possible(self) -> bool:
        """Whether the model can run at all: weights that are larger than the memory would be read for every token."""
        return not self.memory or self.weights + self.rest <= self.memory

    def __str__(self) -> str:
        cache = f", {gigabytes(self.cache)} of KV cache for {self.context} tokens" if self.context else ""
        here = ""
        if self.memory:
            enough = "" if self.need <= self.memory else ": too little, unless a smaller `context_size` is set"
            here = f"; this machine has {gigabytes(self.memory)} for models{enough}"
        return f"takes about {gigabytes(self.need)} of memory ({gigabytes(self.weights)} of weights{cache}){here}"


def estimate(files: Sequence[RemoteFile], config: EngineConfig, access: Access) -> Fit | None:
    """Estimate what a model takes from the sizes of its files and its header; None if nobody says a size."""
    weights = [file for file in files if file.path.lower().endswith(WEIGHTS)]
    sizes = [file.sent_size for file in weights]  # weights hardly shrink in archives
    if not sizes or None in sizes:
        return None
    first = next((file for file in weights if file.path == config.parameters.model), None)
    header = read_header(first, access.models_path) if first is not None else None
    context = choose_context(config.context_size, header.context_length) if header is not None else 0
    cache = cache_bytes(config, context, header.cached_bytes) if header is not None else 0
    backend = config.backend or ("llama-cpp" if first is not None else "transformers")
    return Fit(sum(filter(None, sizes)), cache, context if cache else 0, facts(backend).process_bytes, access.memory)


def check_fit(files: Sequence[RemoteFile], config: EngineConfig, access: Access) -> Fit | None:
    """Return what `estimate` does; raise `NoRoom` if the model can never run here, unless it is forced."""
    fit = estimate(files, config, access)
    if fit is not None and not fit.is_possible and not access.force:
        raise NoRoom(
            f"{config.name} cannot run on this machine: it {fit}. Choose a smaller model or quantization, or force it."
        )
    return fit
