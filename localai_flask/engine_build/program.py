"""Builds the program `llama-server` from sources of llama.cpp or of a fork: whole, or against libraries in place."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from localai_flask.engine_build.compilers import BuildError
from localai_flask.engine_build.progress import Progress
from localai_flask.engine_build.targets import choose_flags
from localai_flask.engine_build.wheel import CORE_MINUTES, PACKAGE, read_version, run_build

NAME = "llama-server"
SOURCES = {
    "llama-server": "",
    "ik-llama-cpp": "https://github.com/ikawrakow/ik_llama.cpp/archive/refs/heads/main.tar.gz",
    "turboquant": "https://github.com/TheTom/llama-cpp-turboquant/archive/refs/heads/feature/turboquant-kv-cache.tar.gz",
}
"""Where each backend's sources are; those of llama.cpp's own come in the source distribution of llama-cpp-python."""
SERVERS = ("tools/server", "examples/server")
"""Where the program's sources lie, in newer trees and in older ones."""
LEFT_OUT = (
    *("LLAMA_CURL", "LLAMA_OPENSSL", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_UI", "LLAMA_BUILD_WEBUI"),
    *("BUILD_SHARED_LIBS", "LLAMA_USE_PREBUILT_UI", "LLAMA_SERVER_SQLITE3"),
)
"""CMake's switches for what a program behind another server does not need."""
QUICK_MINUTES = 4
"""What a build against libraries in place took, times the cores."""


def build_program(source: str, target: Path, words: Sequence[str] = (), *, is_quick: bool = False) -> None:
    """Build the program of a folder, an archive or an address of one ("": llama.cpp's own) as a file.

    A quick build copies the libraries of the installed llama-cpp-python to the program's side, which have to have been
    made from the same sources. Raises `BuildError`.
    """
    with tempfile.TemporaryDirectory(prefix="localai-flask-program-") as made:
        folder = Path(made)
        tree = find_tree(unpack(source, folder / "source"))
        libraries = _libraries() if is_quick else None
        configured = _whole(tree, words) if libraries is None else _quick(tree, libraries)
        cores = int(os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or os.cpu_count() or 1)
        progress = Progress(60.0 * (QUICK_MINUTES if is_quick else CORE_MINUTES) / cores)
        cmake = _find_cmake()
        log = target.with_name(f"{target.name}.log")
        target.parent.mkdir(parents=True, exist_ok=True)
        build = str(folder / "build")
        run_build([cmake, "-B", build, "-DCMAKE_BUILD_TYPE=Release", *configured], os.environ, progress, log)
        command = [cmake, "--build", build, "--target", NAME, "--parallel", str(cores)]
        run_build(command, os.environ, progress, log)
        built = next((path for path in (folder / "build").rglob(NAME) if path.is_file()), None)
        if built is None:
            raise BuildError(f"The build of {source or PACKAGE} made no program {NAME}; what it said is in {log}.")
        for library in libraries.glob("lib*.so.[0-9]") if libraries is not None else ():
            shutil.copy2(library, target.parent)
        whole = target.with_name(f"{target.name}.new")
        shutil.copy2(built, whole)
        whole.replace(target)


def unpack(source: str, folder: Path) -> Path:
    """Return the folder of sources; what is an archive, or elsewhere, is put into `folder`."""
    if not source:
        return _unpack_archive(_download_distribution(folder), folder)
    if urlsplit(source).scheme in ("http", "https"):
        return _unpack_archive(_download(source, folder), folder)
    path = Path(source).expanduser()
    if not path.exists():
        raise BuildError(f"There is no {path}; name a folder, an archive or an address with llama.cpp's sources.")
    return path if path.is_dir() else _unpack_archive(path, folder)


def find_tree(folder: Path) -> Path:
    """Return the folder of llama.cpp inside of another; raise `BuildError` if there is none."""
    outer = (folder, *sorted(folder.glob("*/")))
    for each in (*(each / "vendor/llama.cpp" for each in outer), *outer):  # llama-cpp-python looks like one too
        if (each / "CMakeLists.txt").exists() and any((each / server).is_dir() for server in SERVERS):
            return each.resolve()
    raise BuildError(f"{folder} has no sources of llama.cpp's server ({' or '.join(SERVERS)}); name another.")


def _whole(tree: Path, words: Sequence[str]) -> list[str]:
    return ["-S", str(tree), *(f"-D{name}=OFF" for name in LEFT_OUT), *choose_flags(words)]


def _libraries() -> Path:
    """Return the folder of the libraries of llama-cpp-python."""
    found = importlib.util.find_spec("llama_cpp")
    if found is None or found.origin is None:
        raise BuildError(f"A quick build needs {PACKAGE}, which is not installed; leave --quick out.")
    return Path(found.origin).parent / "lib"


def _quick(tree: Path, libraries: Path) -> list[str]:
    own = Path(__file__).parent / "llama_server"
    flags = "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG"
    return ["-S", str(own), f"-DSOURCE={tree}", f"-DLIBRARIES={libraries}", flags]


def _find_cmake() -> str:
    cmake = shutil.which("cmake") or shutil.which("cmake", path=str(Path(sys.executable).parent))
    if cmake is None:
        raise BuildError("A build needs cmake, which is not there: pip install cmake, or apt install cmake.")
    return cmake


def _download_distribution(folder: Path) -> Path:
    """Fetch the source distribution of llama-cpp-python from the package index that pip is set to."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"{PACKAGE}=={read_version()}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE]
    if subprocess.run([*command, "--dest", str(folder), wanted], check=False).returncode:
        raise BuildError(f"pip could not fetch the sources of {wanted}; name a folder with llama.cpp's sources.")
    [archive] = folder.glob("*.tar.gz")
    return archive


def _download(address: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / (Path(urlsplit(address).path).name or "source.tar.gz")
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, open(target, "wb") as file:
            shutil.copyfileobj(answer, file)
    except OSError as error:
        raise BuildError(f"{address} cannot be fetched ({error}); name a folder with the sources instead.") from error
    return target


def _unpack_archive(archive: Path, folder: Path) -> Path:
    target = folder / "tree"
    try:
        # Python knows the filter from 3.11.4 on; without it nothing is at stake that a build does not risk.
        if hasattr(tarfile, "data_filter"):
            shutil.unpack_archive(archive, target, filter="data")
        else:
            shutil.unpack_archive(archive, target)
    except (shutil.ReadError, OSError, ValueError) as error:
        raise BuildError(f"{archive} cannot be unpacked ({error}); name a .tar.gz or .zip with the sources.") from error
    return target
