"""A Hugging Face folder in OpenVINO's format: exported once by optimum-intel, in a process of its own, and kept.

    MODEL/.openvino/lock                     held by whoever exports
    MODEL/.openvino/<digest>-<task>-<format> the model as it was exported; the digest is that of files and versions
    MODEL/.openvino/….part, ….log            while that is going on; the log stays where it failed

An export is written beside its place and renamed, so that half of one never counts. Where the model's folder cannot be
written to, the user's cache has it.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.hugging_face.folder import about
from localai_flask.config.files.bounded import read_json
from localai_flask.config.files.settling import files_of
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import makes_vectors
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.server.processes import bound
from localai_flask.user_folders import cache_folder

MODEL = "openvino_model.xml"
NAME = ".openvino"
EXPORTER = "optimum.intel"
PROGRAM = "import sys; from optimum.commands.optimum_cli import main; sys.exit(main())"
LOOK_S = 0.2
HALF_S, MOST_S = 300.0, 4 * 3600.0
"""After how long half of the progress is shown, and how long an export may take."""
SHARE = 0.9
"""How much of the progress of loading is the export."""
WEIGHTS = ("*.safetensors", "*.bin")
HALF_TYPES = ("float16", "bfloat16")


def ensure_exported(config: EngineConfig, folder: Path, progress: LoadProgress) -> Path:
    """Return the folder with the model in OpenVINO's format: itself, or what it is exported to, now if need be.

    Raises `ConfigError` if it cannot be exported here, and `ModelLoadFailed` if that fails.
    """
    if (folder / MODEL).exists():
        return folder
    if not any(True for kind in WEIGHTS for _ in folder.glob(kind)):
        raise ConfigError(f"{about(config)} finds neither {MODEL} nor safetensors in {folder}; download it again.")
    if not _can_export():
        raise ConfigError(
            f"{about(config)} needs {folder} in OpenVINO's format, and optimum-intel, which exports it, is "
            "not installed where this backend runs: `localai-flask backends install openvino` brings it, or put an "
            f"exported model (with {MODEL}) in the folder's place.",
            param="parameters.model",
        )
    home = _home(folder)
    done = home / f"{_digest(folder)}-{task(config)}-{weight_format(config, folder)}"
    with _locked(config, folder, home, progress):
        if not (done / MODEL).exists():
            _export(config, folder, done, progress)
            _sweep(home, done.name.partition("-")[0])
    return done


def _can_export() -> bool:
    try:
        return importlib.util.find_spec(EXPORTER) is not None
    except ModuleNotFoundError:  # there is no optimum at all
        return False


def _home(folder: Path) -> Path:
    """Return the folder for a model's exports."""
    if os.access(folder, os.W_OK):
        return folder / NAME
    digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    return cache_folder() / "openvino" / f"{folder.name}-{digest}"


def _digest(folder: Path) -> str:
    """Return what tells a folder, and who exports it, from what was there before."""
    parts = [version("optimum-intel"), version("openvino")]
    for file in files_of(folder):
        stat = file.stat()
        parts.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def task(config: EngineConfig) -> str:
    """Return what the model is for, in optimum's words."""
    return "feature-extraction" if makes_vectors(config) else "text-generation-with-past"


def weight_format(config: EngineConfig, folder: Path) -> str:
    """Return what weights become: what `quantization` says, else what they are, as optimum itself may choose 8 bits."""
    if config.quantization:
        return config.quantization
    described = read_json(folder / "config.json")
    return "fp16" if described.get("dtype", described.get("torch_dtype")) in HALF_TYPES else "fp32"


def _export(config: EngineConfig, folder: Path, done: Path, progress: LoadProgress) -> None:
    part, log = (done.with_name(done.name + ending) for ending in (".part", ".log"))
    shutil.rmtree(part, ignore_errors=True)
    total = sum(file.stat().st_size for kind in WEIGHTS for file in folder.glob(kind))
    if shutil.disk_usage(done.parent).free < total:
        raise ModelLoadFailed(
            f"{about(config)} exports {folder}, for which {done.parent} needs about {total >> 20} MiB on its disk; "
            "make room."
        )
    command = [sys.executable, "-P", bound.__file__, str(os.getpid()), sys.executable, "-P", "-c", PROGRAM]
    command += ["export", "openvino", "--model", str(folder), "--task", task(config), "--library", "transformers"]
    command += ["--weight-format", weight_format(config, folder)]
    command += ["--trust-remote-code"] if config.trust_remote_code else []
    # Its last words are looked for at the end of what it says, which has to come in order for that.
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    try:
        with log.open("wb") as said, _running([*command, str(part)], said.fileno(), offline) as child:
            begun = time.monotonic()
            while child.poll() is None:
                _advance(config, folder, begun, progress)
        if child.returncode or not (part / MODEL).exists():
            raise ModelLoadFailed(
                f"{about(config)} cannot export {folder}: {_last_words(log)}. All that optimum-intel said is in {log}."
            )
        part.rename(done)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    log.unlink()


def _advance(config: EngineConfig, folder: Path, begun: float, progress: LoadProgress) -> None:
    """Wait a little; what happens before the file is written nobody tells, so that the time stands for it."""
    elapsed = time.monotonic() - begun
    if elapsed > MOST_S:
        raise ModelLoadFailed(f"{about(config)} has exported {folder} for {MOST_S / 3600:.0f} hours and gave up.")
    progress(SHARE * elapsed / (elapsed + HALF_S))
    time.sleep(LOOK_S)


@contextmanager
def _running(command: list[str], output: int, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that ends with this process, and with the block."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=os.environ | variables
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@contextmanager
def _locked(config: EngineConfig, folder: Path, home: Path, progress: LoadProgress) -> Iterator[None]:
    """Hold a model's exports; wait for whoever holds them now."""
    home.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                _advance(config, folder, begun, progress)
        yield
    finally:
        os.close(descriptor)


def _sweep(home: Path, digest: str) -> None:
    """Remove what was exported from other files; who has it open goes on reading it."""
    for other in home.iterdir():
        if not other.name.startswith(digest) and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:300].rstrip(".") if lines else "it said nothing"
