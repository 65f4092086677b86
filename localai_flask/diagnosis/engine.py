"""Whether the llama.cpp engine works here, found out in processes that may die of it, and the sentences about that."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from localai_flask.backends import is_installed
from localai_flask.diagnosis.findings import Finding
from localai_flask.diagnosis.gpus import (
    Gpu,
    build_command,
    built_for,
    find_gpus,
    library_folder,
    torch_without_cuda,
    unused,
)
from localai_flask.diagnosis.trial import Decoded, Library

TOPIC = "llama.cpp"
PATIENCE_S = 120.0
"""How long one trial may take."""


@dataclass(frozen=True)
class Outcome:
    """What came of a trial: what it said, and the signal or the words with which it ended if it failed."""

    library: Library | None = None
    decoded: Decoded | None = None
    fault: str = ""
    error: str = ""


def try_engine(model: Path | None = None, *, is_cautious: bool = False) -> Outcome:
    """Load the library in a process of its own, and decode with a model if there is one."""
    command = [sys.executable, "-m", "localai_flask.diagnosis.trial", *([str(model)] if model else [])]
    try:
        done = subprocess.run(
            [*command, *(["--cautious"] if is_cautious else [])], capture_output=True, text=True, timeout=PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        return Outcome(error=f"it was not done after {PATIENCE_S:.0f} s")
    lines = done.stdout.splitlines()
    said = done.stderr.strip().splitlines()
    return Outcome(
        library=msgspec.json.decode(lines[0], type=Library) if lines else None,
        decoded=msgspec.json.decode(lines[1], type=Decoded) if lines[1:] else None,
        fault=signal.Signals(-done.returncode).name if done.returncode < 0 else "",
        error=(said[-1] if said else f"exit code {done.returncode}") if done.returncode > 0 else "",
    )


def check_engine(model: Path | None = None) -> Iterator[Finding]:
    """Try the engine, and once more without repacked weights if it died."""
    if not is_installed("llama-cpp"):
        advice = "pip install 'localai-flask[llama-cpp]', or leave it if your models need another engine"
        yield Finding("warning", TOPIC, "It is not installed.", advice)
        return
    outcome = try_engine(model)
    if outcome.fault and model is not None:
        yield explain_fault(outcome, try_engine(model, is_cautious=True), model)
    elif outcome.library is None:
        text = f"It cannot be loaded: {outcome.fault or outcome.error.rstrip('.')}."
        yield Finding("problem", TOPIC, text, _cure(outcome.library))
    elif outcome.error:
        yield Finding("problem", TOPIC, outcome.error)
    elif outcome.decoded is not None and model is not None:
        rate = outcome.decoded.per_second
        yield Finding("ok", TOPIC, f"It decodes with {model.name}{f', {rate:.0f} tokens/s' if rate else ''}.")
    if outcome.library is not None:
        yield from _describe(outcome.library)


def check_torch() -> Iterator[Finding]:
    """Compare the GPUs with what the transformers engine's torch was built for."""
    version, gpu = torch_without_cuda(), next((gpu for gpu in find_gpus() if "cuda" in gpu.words), None)
    if version and gpu is not None and is_installed("transformers"):
        text = (
            f"This machine has {gpu.name}, and torch {version} was built without CUDA; its models run on the processor."
        )
        advice = "pip uninstall torch, then pip install torch: the package index's own is built for CUDA"
        yield Finding("warning", "transformers", text, advice)


def explain_fault(first: Outcome, second: Outcome, model: Path) -> Finding:
    """Explain what it means that a trial was killed, by what came of a cautious one."""
    killed = f"It is killed by {first.fault} when it decodes with {model.name}"
    if second.decoded is not None:
        text = f"{killed}, but not without repacked weights: the server does without them, and prompts take longer."
        return Finding("warning", TOPIC, text, _cure(first.library))
    return Finding("problem", TOPIC, f"{killed}, also without repacked weights.", _cure(first.library))


def _cure(library: Library | None) -> str:
    """Name a build that does not repeat the mistake: the same one would."""
    command = build_command("portable")
    if library is not None and library.variant:
        return f"build it with another compiler: CC=clang CXX=clang++ {command}"
    return f"build it with variants for all processors, and if that fails too with CC=clang CXX=clang++: {command}"


def _describe(library: Library) -> Iterator[Finding]:
    variant = f", variant {library.variant}" if library.variant else ""
    yield Finding("ok", TOPIC, f"llama-cpp-python {library.version}{variant}: {library.features}.")
    if not library.has_rpc:
        advice = "python -m localai_flask.engine_build install, if models are to lie on several machines"
        yield Finding("warning", TOPIC, "It was built without RPC.", advice)
    yield from _describe_gpus(find_gpus(), library)


def _describe_gpus(gpus: list[Gpu], library: Library) -> Iterator[Finding]:
    for device in library.gpus:
        memory = f"{device.free / 2**30:.1f} of {device.total / 2**30:.1f} GiB free"
        yield Finding("ok", "GPU", f"llama.cpp uses {device.name} ({device.description}, {memory}).")
    folder = library_folder()
    words = built_for(folder) if folder else []
    for gpu in unused(gpus, words):
        text = f"This machine has {gpu.name}, and llama.cpp was built without it."
        yield Finding("warning", "GPU", text, build_command(gpu.words[0]))
    if words and not library.gpus:
        text = f"llama.cpp was built for {', '.join(words)} and finds no GPU."
        yield Finding("warning", "GPU", text, "see whether the driver is installed and this user may use the device")
    if not gpus and not library.gpus and not words:
        yield Finding("ok", "GPU", "There is none; models run on the processor.")
