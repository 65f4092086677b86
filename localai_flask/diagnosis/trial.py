"""Tries the library in a process of its own, which it may end: `python -m localai_flask.diagnosis.trial`.

Prints a line of JSON about the library, and another when it has decoded a few tokens with the model that was named.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import sys
import time
from pathlib import Path

import msgspec

from localai_flask.errors import ApiError

PROMPT = "Hello"
TOKENS = 24
"""What is decoded: enough to see how fast that is, and little enough for a large model on a slow machine."""


class Device(msgspec.Struct, frozen=True):
    """A GPU that the library can use, and its memory in bytes."""

    name: str
    description: str
    free: int = 0
    total: int = 0


class Library(msgspec.Struct, frozen=True):
    """The library as it is installed; `variant` is the file of a portable build that suits this processor."""

    version: str
    features: str
    has_rpc: bool
    gpus: list[Device]
    variant: str = ""


class Decoded(msgspec.Struct, frozen=True):
    """What came of decoding; `per_second` counts from the first token on, 0 for vectors and scores."""

    tokens: int
    per_second: float = 0.0


def describe_library() -> Library:
    """Load the library and look at it."""
    from localai_flask.backends.llama_cpp.model.devices import local_gpus, read_memory
    from localai_flask.backends.llama_cpp.model.library import ENGINE_VERSION, capture_log, ggml, lib

    capture_log()
    about = ggml("ggml_backend_dev_description", ctypes.c_char_p, ctypes.c_void_p)
    gpus = [
        Device(name, about(device).decode(errors="replace"), *read_memory(device))
        for name, device in local_gpus().items()
    ]
    registry = ggml("ggml_backend_reg_by_name", ctypes.c_void_p, ctypes.c_char_p)
    variants = re.findall(r"libggml-cpu-\w+\.so\S*", Path("/proc/self/maps").read_text())
    features: bytes = lib.llama_print_system_info()
    return Library(
        version=ENGINE_VERSION,
        features=" ".join(re.findall(r"(\w+) = 1", features.decode())),
        has_rpc=bool(registry(b"RPC")),
        gpus=gpus,
        variant=variants[0] if variants else "",
    )


def decode(path: Path, *, is_cautious: bool) -> Decoded:
    """Load a model as the server does, and decode a few tokens."""
    from localai_flask.backends.base import Event, Inquiry, Job
    from localai_flask.backends.llama_cpp.engine import LlamaCppBackend
    from localai_flask.config.blocks import Parameters
    from localai_flask.config.model import ModelConfig
    from localai_flask.generation import Prompt
    from localai_flask.inquiry import Embed, Embedded, Score, Scored
    from localai_flask.sampling_params import SamplingParams

    backend = LlamaCppBackend()
    backend.is_cautious = is_cautious
    config = ModelConfig(
        name=path.stem,
        backend="llama-cpp",
        models_path=str(path.parent),
        parameters=Parameters(model=path.name),
        context_size=256,
        options=("parallel:1",),
    )
    able = backend.load(config, lambda fraction: None).capabilities
    if "generate" not in able:  # it was made for vectors or scores
        inquiry = Inquiry(1, Embed(Prompt(PROMPT)) if "embed" in able else Score(PROMPT, PROMPT))
        if backend.ask(inquiry) is None:
            backend.start_inquiry(inquiry)
        events: list[Event] = []
        while not backend.is_idle:
            events += backend.step()
        return Decoded(sum(reply.tokens for _, reply in events if isinstance(reply, Embedded | Scored)))
    job = Job(1, Prompt(PROMPT), SamplingParams(max_tokens=TOKENS, ignore_eos=True))
    backend.prepare(job)
    backend.start(job)
    first_at = 0.0
    while not backend.is_idle:
        backend.step()
        if job.output_tokens and not first_at:
            first_at, before = time.perf_counter(), len(job.output_tokens)
    count = len(job.output_tokens)
    return Decoded(count, round((count - before) / (time.perf_counter() - first_at), 1))


def main() -> None:
    """Report on standard output; a cause that the engine knows ends it with one line on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--cautious", action="store_true")
    given = parser.parse_args()
    try:
        print(msgspec.json.encode(describe_library()).decode(), flush=True)
        if given.model:
            print(msgspec.json.encode(decode(given.model, is_cautious=given.cautious)).decode(), flush=True)
    except ApiError as error:
        sys.exit(str(error))
    os._exit(0)  # destructors of C libraries are no place to fail


if __name__ == "__main__":
    main()
