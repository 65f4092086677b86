"""The GPUs that Linux knows of, and whether the installed llama.cpp was built for them.

Looks at files only, so that the server's arbiter can ask: neither a driver's package nor the engine is loaded.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from localai_flask.engine_build.targets import TARGETS

AMD, INTEL, NVIDIA = "0x1002", "0x8086", "0x10de"
"""PCI ids of vendors, as in /sys/class/drm/*/device/vendor."""


@dataclass(frozen=True)
class Gpu:
    """A GPU, and the words of builds that can use it, the best first; none if it has no driver for that."""

    name: str
    words: tuple[str, ...]


def find_gpus(root: Path = Path("/")) -> list[Gpu]:
    """List the GPUs; a machine without any has none of these files."""
    found = list(_find_nvidia(root))
    for vendor in root.glob("sys/class/drm/renderD*/device/vendor"):
        code = vendor.read_text().strip()
        if code == AMD:
            found.append(Gpu("an AMD GPU", ("hip", "vulkan") if (root / "dev/kfd").exists() else ("vulkan",)))
        elif code == INTEL:
            found.append(Gpu("an Intel GPU", ("vulkan", "sycl")))
        elif code == NVIDIA and not found:
            found.append(Gpu("an NVIDIA GPU without NVIDIA's driver", ("vulkan",)))
    return found


def _find_nvidia(root: Path) -> Iterator[Gpu]:
    words = ("cuda", "vulkan")
    names = [file.read_text(errors="replace") for file in root.glob("proc/driver/nvidia/gpus/*/information")]
    models = [model[1] for name in names if (model := re.search(r"^Model:\s*(.+?)\s*$", name, re.MULTILINE))]
    devices = list(root.glob("dev/nvidia[0-9]*"))
    if not devices and (root / "dev/dxg").exists() and (root / "usr/lib/wsl/lib/libcuda.so.1").exists():
        devices = [root / "dev/dxg"]  # Windows lends its driver to Linux (WSL)
    for index in range(len(devices)):
        yield Gpu(models[index] if index < len(models) else "an NVIDIA GPU", words)


def library_folder() -> Path | None:
    """Return where llama.cpp's libraries are, without loading them; None if llama-cpp-python is not installed."""
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(os.environ.get("LLAMA_CPP_LIB_PATH") or Path(next(iter(spec.submodule_search_locations))) / "lib")


def built_for(folder: Path) -> list[str]:
    """List the words of GPUs that the libraries of a folder were built for."""
    names = {match[1] for file in folder.glob("libggml-*") if (match := re.match(r"libggml-([a-z]+)", file.name))}
    return [word for word, target in TARGETS.items() if target.tool and word in names]


def build_command(word: str) -> str:
    """Return the command that builds the engine for a word, here."""
    if (Path(__file__).resolve().parents[2] / "Makefile").exists():
        return f"make serve GPU={word}"
    return f"python -m localai_flask.engine_build install {word}"


def unused(gpus: Sequence[Gpu], words: Sequence[str]) -> list[Gpu]:
    """List the GPUs that an engine built for these words cannot use."""
    return [gpu for gpu in gpus if not set(gpu.words) & set(words)]


def describe_unused_gpus() -> Iterator[str]:
    """Describe for what GPU the engine was not built, and the command that does it."""
    folder = library_folder()
    idle = unused(find_gpus(), built_for(folder)) if folder is not None else []
    for gpu in dict.fromkeys(idle):
        yield (
            f"this machine has {gpu.name}, and llama.cpp was built without it: "
            f"`{build_command(gpu.words[0])}` builds it for {gpu.words[0]}"
        )


def torch_without_cuda() -> str:
    """Return the version of an installed torch that was built without CUDA, read off its files; "" if there is none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return ""
    text = (Path(spec.origin).parent / "version.py").read_text()
    version = re.search(r"^__version__ = '(.+)'", text, re.MULTILINE)
    has_none = re.search(r"^cuda\b.*= None$", text, re.MULTILINE)
    return version[1] if version and has_none else ""
