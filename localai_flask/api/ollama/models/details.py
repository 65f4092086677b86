"""What Ollama's API tells of a model: from its YAML and its file's header, so that nothing has to be loaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from localai_flask.api import current
from localai_flask.api.answer.model_traits import abilities, context_length, template
from localai_flask.api.ollama import shapes
from localai_flask.chat.output.reasoning_marks import KNOWN_PAIRS
from localai_flask.config import traits
from localai_flask.config.engines.facts import facts
from localai_flask.config.files.gguf_metadata import read_metadata
from localai_flask.config.files.settling import all_parts
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import ModelConfig, encode
from localai_flask.config.sampling import sampling

WORDS = {"generate": ("completion", "tools"), "infill": ("insert",), "embed": ("embedding",), "image": ("vision",)}
"""Ollama's words for what engines can do; tools are served with any model that writes."""
# fmt: off
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}
# fmt: on
"""How weights are quantized, by llama.cpp's numbers (`llama_ftype`)."""
SHOWN = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "seed")
"""The parameters that both servers call the same."""


def files_of(config: ModelConfig) -> list[Path]:
    """List a model's files, of which the first names it; none for one that lies elsewhere."""
    if not config.parameters.model or facts(config.backend).files == "elsewhere":
        return []
    path = config.model_path
    found = sorted(path.rglob("*")) if path.is_dir() else all_parts(path)
    return [file for file in found if file.is_file()]


def modified_at(config: ModelConfig) -> float:
    """Return when a model's newest file was written; for one that has none, its YAML."""
    stamps = [stamp for file in (files_of(config) or [Path(config.source)]) if (stamp := _stamp(file))]
    return max(stamps, default=0.0)


def digests_of(configs: Iterable[ModelConfig]) -> dict[str, str]:
    """Return the digests of models by their names, each a SHA-256 in hexadecimal digits.

    That of a model in one file is the file's own; that of one in several is made of theirs, and that of one without
    files of its configuration. Until the sum of a file is known, names, sizes and dates stand for it.
    """
    files = {config.name: files_of(config) for config in configs}
    sums = current.digests().find([file for found in files.values() for file in found])
    return {config.name: _digest(config, files[config.name], sums) for config in configs}


def details(config: ModelConfig) -> shapes.Details:
    """Describe what kind of model it is."""
    kind = facts(config.backend).files
    family, size, quantization = "", "", ""
    if kind == "gguf" and (header := traits.read_header(config.model_path)) is not None:
        family, size = header.architecture, counted(header.parameter_count)
        quantization = FILE_TYPES.get(-1 if header.file_type is None else header.file_type, "unknown")
    elif kind == "folder":
        snapshot = read_snapshot(config.model_path)
        family, quantization = next(iter(snapshot.architectures), ""), snapshot.quantization
    form = {"gguf": "gguf", "folder": "safetensors", "pth": "pth"}.get(kind, "")
    return shapes.Details(config.parent, form, family, [family] if family else [], size, quantization)


def capabilities(config: ModelConfig) -> list[str]:
    """Return what a model can do, in Ollama's words."""
    able = abilities(config)
    words = [word for each, said in WORDS.items() if each in able for word in said]
    thinks = config.reasoning.tag_pairs or any(pair.start in template(config) for pair in KNOWN_PAIRS)
    return [*words, "thinking"] if "generate" in able and thinks and not config.reasoning.disable else words


def model_info(config: ModelConfig, *, with_lists: bool) -> dict[str, Any]:
    """Return what a model's file says of itself; its context length is that of requests here."""
    told: dict[str, Any] = {"general.architecture": details(config).family or config.backend}
    if facts(config.backend).files == "gguf" and (header := traits.read_header(config.model_path)) is not None:
        told |= read_metadata(config.model_path, with_lists=with_lists)
        told["general.parameter_count"] = header.parameter_count
    if (length := context_length(config)) is not None:
        told[f"{told['general.architecture']}.context_length"] = length
    return told


def parameters(config: ModelConfig) -> list[tuple[str, str]]:
    """Return what holds for requests that say nothing else."""
    params = sampling.merge(config, {})
    found = [(name, f"{getattr(params, name):g}") for name in SHOWN if name != "seed" or params.seed >= 0]
    if params.max_tokens:
        found.append(("num_predict", str(params.max_tokens)))
    if (length := context_length(config)) is not None:
        found.append(("num_ctx", str(length)))
    return [*found, *(("stop", _quoted(stop)) for stop in params.stop)]


def modelfile(config: ModelConfig) -> str:
    """Write the model as a Modelfile, for people."""
    lines = [f"FROM {config.parameters.model or config.name}"]
    lines += [f"PARAMETER {name} {value}" for name, value in parameters(config)]
    if config.system_prompt:
        lines.append(f"SYSTEM {_quoted(config.system_prompt)}")
    return "\n".join(lines) + "\n"


def counted(number: int) -> str:
    """Write a number of parameters as Ollama does: `134.52M`; "" if it is not known."""
    for size, unit, places in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 2)):
        if number >= size:
            return f"{number / size:.{places}f}{unit}"
    return str(number) if number else ""


def _digest(config: ModelConfig, files: list[Path], sums: dict[Path, str]) -> str:
    if len(files) == 1 and files[0] in sums:
        return sums[files[0]]
    parts = [f"{sums.get(file) or _look_of(file)}  {file.name}" for file in files]
    return hashlib.sha256("\n".join(parts).encode() if parts else encode(config)).hexdigest()


def _look_of(file: Path) -> str:
    try:
        stat = file.stat()
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _stamp(file: Path) -> float:
    try:
        return os.stat(file).st_mtime
    except OSError:
        return 0.0


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
