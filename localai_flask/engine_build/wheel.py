"""Builds the wheel of llama-cpp-python once for each set of flags, compilers and processor, and installs it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import select
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from localai_flask.engine_build import nvidia
from localai_flask.engine_build.compilers import LINUX_ONLY, BuildError, describe_compilers
from localai_flask.engine_build.progress import Progress
from localai_flask.engine_build.targets import (
    ARCHITECTURES,
    CUDA,
    EVERY_CARD,
    EVERY_CARDS,
    TARGETS,
    choose_flags,
    choose_targets,
    choose_unasked,
    compilers_for,
    find_tool,
)

PACKAGE = "llama-cpp-python"
RECORD = Path(sys.prefix) / "llama_cpp_build.json"
LOG = Path(sys.prefix) / "llama_cpp_build.log"
CHECKOUT = Path(__file__).resolve().parents[2]
CORE_MINUTES, CUDA_CORE_MINUTES = 8, 70
"""What a build for the CPU took, and what one of NVIDIA's architectures took beside it, times the cores."""
INSTRUCTION_SETS = re.compile(r"(s*sse|avx|amx|fma|f16c|bmi|gfni|v?aes|sha|asimd|sve|sme(?!p)|i8mm|bf16)\w*")


def install(words: Sequence[str]) -> None:
    """Have this Python's llama-cpp-python built as asked; do nothing if it is.

    Without words it is built for what it was, at first for a card if there is all that takes, and without CMAKE_ARGS
    with those it was. Raises `BuildError`.
    """
    if sys.platform != "linux":
        raise BuildError(f"{LINUX_ONLY}.")
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if not words and not record:
        words, why = choose_unasked()
        if why:
            print(why, file=sys.stderr)
    words = sorted(choose_targets(words or record.get("words", [])))
    own = os.environ.get("CMAKE_ARGS", record.get("cmake_args", ""))
    wanted = {"version": read_version(), "words": words, "cmake_args": own, "processor": _processor(words)}
    if CUDA in words:  # where no card is seen, as while its driver is changed, it stays what it was built for
        wanted["cards"] = nvidia.read_architectures() or record.get("cards", [])
    if record == wanted and _installed() == wanted["version"]:
        return
    flags = choose_flags(words, {**os.environ, "CMAKE_ARGS": own})
    folder = _wheel_folder(wanted["version"], flags, words)
    if not list(folder.glob("*.whl")):
        _build(wanted["version"], flags, words, folder)
    [wheel] = folder.glob("*.whl")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--force-reinstall", "--no-deps", str(wheel)]
    if subprocess.run(command, check=False).returncode:
        raise BuildError(f"pip could not install {wheel}; remove it and try again.")
    RECORD.write_text(json.dumps(wanted))


def read_version() -> str:
    """Read which version of llama-cpp-python belongs to this one of localai-flask."""
    try:
        requirements = (CHECKOUT / "setup.cfg").read_text()
    except FileNotFoundError:
        requirements = "\n".join(importlib.metadata.requires("localai-flask") or ())
    found = re.search(rf"{PACKAGE}==([\w.]+)", requirements)
    if found is None:
        raise BuildError(f"This installation of localai-flask does not say which {PACKAGE} it needs; install it anew.")
    return found[1]


def _installed() -> str:
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor(words: Sequence[str]) -> str:
    """Name the instruction sets of this processor, for which all but portable builds are made."""
    cpuinfo = Path("/proc/cpuinfo")
    if "portable" in words or not cpuinfo.exists():
        return platform.machine()
    found = re.search(r"^(?:flags|Features)\s*:(.*)", cpuinfo.read_text(), re.MULTILINE)
    names = [name for name in (found[1] if found else "").split() if INSTRUCTION_SETS.fullmatch(name)]
    return " ".join([platform.machine(), *sorted(names)])


def _wheel_folder(version: str, flags: Sequence[str], words: Sequence[str]) -> Path:
    """Return where the wheel of such a build is kept."""
    compilers = compilers_for(choose_targets(words), os.environ)
    facts = [version, *flags, _processor(words), *describe_compilers(compilers)]
    if CUDA in words:
        facts.append(nvidia.describe_compiler(find_tool(CUDA)))
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "localai-flask" / "wheels" / hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def _build(version: str, flags: Sequence[str], words: Sequence[str], folder: Path) -> None:
    """Build the wheel into its folder, where it appears when it is whole."""
    cores = int(os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or os.cpu_count() or 1)
    minutes = -(-_core_minutes(flags) // cores)
    others = sorted({*words} - {"cpu", CUDA})
    more = f", and several times that for {', '.join(others)}" if others else ""
    print(f"Compiling llama.cpp {version}, once: about {minutes} min on {cores} cores{more}.", file=sys.stderr)
    print(f"CMAKE_ARGS: {shlex.join(flags)}\nLog: {LOG}", file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        # pip's own cache knows a wheel by its version alone, and would give one with other flags.
        command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-cache-dir", "--no-deps", "--no-binary", PACKAGE]
        command += ["--wheel-dir", made, f"{PACKAGE}=={version}"]
        run_build(command, {**os.environ, "CMAKE_ARGS": shlex.join(flags)}, Progress(60.0 * minutes))
        for wheel in Path(made).glob("*.whl"):
            wheel.replace(folder / wheel.name)


def _core_minutes(flags: Sequence[str]) -> int:
    """Estimate a build for the CPU, and for each of NVIDIA's architectures that the flags name."""
    named = [flag.partition("=")[2] for flag in flags if flag.startswith(f"-D{ARCHITECTURES}=")]
    if not named:
        return CORE_MINUTES
    return CORE_MINUTES + CUDA_CORE_MINUTES * (EVERY_CARDS if named[-1] == EVERY_CARD else named[-1].count(";") + 1)


def run_build(command: Sequence[str], environment: Mapping[str, str], progress: Progress, file: Path = LOG) -> None:
    """Run a build, its output in a file; raise `BuildError` if it fails."""
    rest = b""
    with (
        open(file, "wb") as log,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process,
    ):
        assert process.stdout is not None
        output = process.stdout.fileno()
        while True:
            if select.select([output], [], [], 1.0)[0]:
                data = os.read(output, 1 << 16)
                if not data:
                    break
                log.write(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    progress.read(line.decode(errors="replace"), time.monotonic())
            progress.show(time.monotonic())
    progress.end()
    if process.returncode:
        raise BuildError(explain_failure(file.read_text(errors="replace"), file))


def explain_failure(log: str, file: Path = LOG) -> str:
    """Explain why a build failed, with the first errors that it printed."""
    said = [line.strip() for line in log.splitlines() if re.search(r"\berror\b", line, re.IGNORECASE)]
    shown = "".join(f"\n    {line[:200]}" for line in said[:5])
    if re.search(r"Killed signal|out of memory|Cannot allocate memory", log):
        advice = "set CMAKE_BUILD_PARALLEL_LEVEL=1 and try again"
        return f"The compiler ran out of memory; {advice}. All it said: {file}{shown}"
    if "unsupported GNU version" in log:
        return (
            "nvcc does not take this version of GCC; install an older one and name it, as in NVCC_CCBIN=g++-13. "
            f"All it said: {file}{shown}"
        )
    if re.search(r"CUDA::cublas|cublas_v2\.h", log):
        return (
            f"CUDA's toolkit is there without cuBLAS; install {TARGETS[CUDA].remedy}. All that was said: {file}{shown}"
        )
    return f"llama.cpp could not be built. All that was said: {file}{shown}"
