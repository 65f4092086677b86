"""NVIDIA's cards, as the driver's program describes them, and what the compiler for them can do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

FOLDERS = ("/usr/lib/wsl/lib", "/usr/local/nvidia/bin")
"""Where `nvidia-smi` lies beside PATH: on Windows, and in some containers."""
HEADERS = ("include", "targets/*/include")
"""Where a toolkit keeps its headers, seen from its folder."""
PATIENCE_S = 20.0


def read_architectures() -> list[str]:
    """List the compute capabilities of this machine's cards as CMake writes them, such as 90; none without a driver."""
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=os.pathsep.join(FOLDERS))
    if program is None:
        return []
    said = _ask([program, "--query-gpu=compute_cap", "--format=csv,noheader"])
    return sorted({major + minor for major, minor in re.findall(r"^(\d+)\.(\d+)\s*$", said, re.MULTILINE)}, key=int)


def known_architectures(nvcc: str) -> set[str]:
    """Return the architectures that a compiler knows; none if it does not say."""
    return set(re.findall(r"^compute_(\d+)$", _ask([nvcc, "--list-gpu-arch"]), re.MULTILINE))


def describe_compiler(nvcc: str) -> str:
    """Return what tells the versions of toolkits apart."""
    return _ask([nvcc, "--version"])


def has_cublas(nvcc: str) -> bool:
    """Return whether cuBLAS can be compiled against: some toolkits have nothing but the compiler."""
    folders = [Path(nvcc).resolve().parent.parent]
    # It may be a script in /usr/bin, so CMake too asks it for its folder, with a file that is not there.
    folders += [Path(top) for top in re.findall(r"^#\$ TOP=(.+?)\s*$", _ask([nvcc, "-v", "none.cu"]), re.MULTILINE)]
    return any(any(folder.glob(f"{headers}/cublas_v2.h")) for folder in folders for headers in HEADERS)


def _ask(command: list[str]) -> str:
    """Return what a program says; nothing if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr
