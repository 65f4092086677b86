"""What llama.cpp can be built for, and CMake's flags for it on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localai_flask.engine_build import nvidia
from localai_flask.engine_build.compilers import BuildError, find_compilers, gets_amx_wrong

ALWAYS = ("-DGGML_RPC=ON",)
CUDA, PORTABLE = "cuda", "portable"
ARCHITECTURES = "CMAKE_CUDA_ARCHITECTURES"
EVERY_CARD, EVERY_CARDS = "all-major", 6
"""The architectures where no card is seen, and about how many: without a word nvcc takes the oldest one it knows."""


@dataclass(frozen=True)
class Target:
    """CMake's flags, and a tool that has to be there with what brings it.

    `folders` is where the tool may lie beside PATH, `compilers` the ones for C and C++ that it has to be built with.
    """

    flags: tuple[str, ...] = ()
    tool: str = ""
    remedy: str = ""
    folders: tuple[str, ...] = ()
    compilers: tuple[str, str] | None = None


TARGETS = {
    "cpu": Target(),
    CUDA: Target(
        flags=("-DGGML_CUDA=ON",),
        tool="nvcc",
        remedy="NVIDIA's CUDA toolkit (Debian, Ubuntu: apt install nvidia-cuda-toolkit)",
        folders=("/usr/local/cuda/bin", "/opt/cuda/bin"),
    ),
    "vulkan": Target(
        flags=("-DGGML_VULKAN=ON",),
        tool="glslc",
        remedy="Vulkan's development files (Debian, Ubuntu: apt install libvulkan-dev glslc spirv-headers)",
    ),
    "hip": Target(
        flags=("-DGGML_HIP=ON",), tool="hipcc", remedy="AMD's ROCm with its HIP SDK", folders=("/opt/rocm/bin",)
    ),
    "sycl": Target(
        flags=("-DGGML_SYCL=ON",),
        tool="icpx",
        remedy="Intel's oneAPI base toolkit, and run `. /opt/intel/oneapi/setvars.sh`",
        compilers=("icx", "icpx"),
    ),
    # Backends as libraries that are chosen when the engine starts. CMake would put those beside the Python package.
    PORTABLE: Target(
        flags=(
            *("-DGGML_NATIVE=OFF", "-DGGML_BACKEND_DL=ON", "-DGGML_CPU_ALL_VARIANTS=ON"),
            "-DCMAKE_INSTALL_BINDIR=llama_cpp/lib",
        )
    ),
}


def choose_targets(words: Sequence[str]) -> dict[str, Target]:
    """Look up what the words mean; raise `BuildError` if one means nothing."""
    words = [part.lower() for word in words for part in re.split(r"[\s,+]+", word) if part]
    if unknown := [word for word in words if word not in TARGETS]:
        raise BuildError(f"There is no build {unknown[0]!r}; choose among: {', '.join(TARGETS)}.")
    return {word: TARGETS[word] for word in sorted(set(words) or {"cpu"})}


def choose_flags(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> list[str]:
    """Choose CMake's flags, the user's own CMAKE_ARGS last so that they win.

    Raises `BuildError` if the words mean nothing, or a tool or compiler is missing.
    """
    targets = choose_targets(words)
    own = shlex.split(environment.get("CMAKE_ARGS", ""))
    flags = [*ALWAYS, *(flag for target in targets.values() for flag in target.flags), *_find_tools(targets)]
    if CUDA in targets and PORTABLE not in targets and _take_out(own, ARCHITECTURES)[1] is None:
        nvcc = _take_out(own, "CMAKE_CUDA_COMPILER")[1] or find_tool(CUDA)
        flags.append(f"-D{ARCHITECTURES}={_architectures(nvcc)}")
    compilers = compilers_for(targets, environment)
    if any(target.compilers for target in targets.values()):
        flags += [f"-DCMAKE_C_COMPILER={compilers['CC'][0]}", f"-DCMAKE_CXX_COMPILER={compilers['CXX'][0]}"]
    if gets_amx_wrong(compilers):
        # A variant's own -mamx-int8 stands behind CMake's flags and would win; what it defines can be taken back.
        cure = "-U__AMX_INT8__" if PORTABLE in targets else "-mno-amx-int8"
        for name, variable in (("CMAKE_C_FLAGS", "CFLAGS"), ("CMAKE_CXX_FLAGS", "CXXFLAGS")):
            own, given = _take_out(own, name)
            before = environment.get(variable, "") if given is None else given
            flags.append(f"-D{name}={f'{before} {cure}'.strip()}")
    return [*flags, *own]


def compilers_for(targets: Mapping[str, Target], environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Find the compilers that a build for these targets uses; raise `BuildError` if there are none."""
    own = next((target.compilers for target in targets.values() if target.compilers), None)
    return find_compilers(environment, own)


def find_tool(word: str) -> str:
    """Return the path of the tool that a word needs, in PATH or where it usually lies; "" if it is not there."""
    target = TARGETS[word]
    beside = shutil.which(target.tool, path=os.pathsep.join(target.folders)) if target.folders else None
    return shutil.which(target.tool) or beside or ""


def choose_unasked() -> tuple[list[str], str]:
    """Choose the words for a first build that nobody has named any for, and say why if there is a card."""
    cards = nvidia.read_architectures()
    if not cards:
        return [], ""
    nvcc = find_tool(CUDA)
    asking = f"GPU={CUDA}, after an installation of {TARGETS[CUDA].remedy}, takes the card"
    if not nvcc:
        return [], f"This machine has an NVIDIA card and no nvcc, so llama.cpp is built for the processor; {asking}."
    if not nvidia.has_cublas(nvcc):
        return [], f"This machine has an NVIDIA card and no cuBLAS, so llama.cpp is built for the processor; {asking}."
    if unknown := sorted({*cards} - nvidia.known_architectures(nvcc)):
        return [], f"{_too_old(unknown[0], nvcc)}, so llama.cpp is built for the processor."
    return [CUDA], "This machine has an NVIDIA card and nvcc, so llama.cpp is built for both; GPU=cpu leaves it out."


def _find_tools(targets: Mapping[str, Target]) -> list[str]:
    """Return flags that name tools outside of PATH; raise `BuildError` if one is missing."""
    flags = []
    for word, target in targets.items():
        if not target.tool or shutil.which(target.tool):
            continue
        path = find_tool(word)
        if not path:
            raise BuildError(f"A build for {word} needs {target.tool}, which is not there: install {target.remedy}.")
        if word == CUDA:
            flags.append(f"-DCMAKE_CUDA_COMPILER={path}")
    return flags


def _architectures(nvcc: str) -> str:
    """Name those of this machine's cards for CMake; raise `BuildError` if the compiler does not know one."""
    cards, known = nvidia.read_architectures(), nvidia.known_architectures(nvcc)
    if unknown := [card for card in cards if known and card not in known]:
        raise BuildError(f"{_too_old(unknown[0], nvcc)}: install another, or name it in CMAKE_CUDA_COMPILER.")
    return ";".join(cards) or EVERY_CARD


def _too_old(architecture: str, nvcc: str) -> str:
    return f"This machine has a card of NVIDIA's architecture {architecture}, which {nvcc} does not know"


def _take_out(flags: Sequence[str], name: str) -> tuple[list[str], str | None]:
    """Split a variable of CMake's off from flags; the last definition counts."""
    pattern = re.compile(f"-D{name}(:[A-Z]+)?=")
    values = [flag.partition("=")[2] for flag in flags if pattern.match(flag)]
    return [flag for flag in flags if not pattern.match(flag)], values[-1] if values else None
