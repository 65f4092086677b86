"""What the web side is told of a model that is loaded."""

from __future__ import annotations

from localai_flask.backends.llama_cpp.model.devices import gpu_memories
from localai_flask.backends.llama_cpp.model.library import ENGINE_VERSION
from localai_flask.backends.llama_cpp.model.model import Model
from localai_flask.generation import ModelInfo


def describe(model: Model, capabilities: frozenset[str], context_length: int, given_up: str) -> ModelInfo:
    """Return what a model is and takes, beside what its engine can do with it."""
    vocabulary = model.vocabulary
    return ModelInfo(
        backend="llama-cpp",
        engine_version=ENGINE_VERSION,
        context_length=context_length,
        capabilities=capabilities,
        chat_template=model.chat_template(),
        tool_template=model.chat_template("tool_use"),
        control_tokens=vocabulary.control_tokens,
        bos_token=vocabulary.text(vocabulary.bos),
        eos_token=vocabulary.text(vocabulary.eos),
        trained_context=model.trained_context,
        memory_bytes=model.weight_bytes + model.capture.cache_bytes + model.projector_bytes,
        gpu_bytes=model.capture.bytes_in(gpu_memories()),
        description=model.description,
        given_up=given_up,
    )
