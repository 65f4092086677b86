"""What `localai-flask doctor` finds, and the hint at the server's start."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from localai_flask.cli import main
from localai_flask.diagnosis import engine, gpus, machine, speed
from localai_flask.diagnosis.engine import Outcome, check_engine, explain_fault, try_engine
from localai_flask.diagnosis.findings import Finding
from localai_flask.diagnosis.gpus import Gpu, built_for, describe_unused_gpus, find_gpus
from localai_flask.diagnosis.settings import check_disk, check_settings
from localai_flask.diagnosis.trial import Decoded, Device, Library
from localai_flask.server.start_checks import find_doubts
from localai_flask.settings import Settings


def write(root: Path, path: str, text: str = "") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_machine_without_gpus_has_none(tmp_path: Path) -> None:
    write(tmp_path, "dev/nvidiactl")
    write(tmp_path, "dev/dxg")
    write(tmp_path, "sys/class/drm/renderD128/device/vendor", "0x1af4\n")  # a virtual machine's display
    assert find_gpus(tmp_path) == []


def test_nvidias_gpus_are_named(tmp_path: Path) -> None:
    for index in (0, 1):
        write(tmp_path, f"dev/nvidia{index}")
        write(tmp_path, f"sys/class/drm/renderD12{index}/device/vendor", "0x10de\n")
    write(tmp_path, "proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA L4\nIRQ: 1\n")
    assert find_gpus(tmp_path) == [Gpu("NVIDIA L4", ("cuda", "vulkan")), Gpu("an NVIDIA GPU", ("cuda", "vulkan"))]


@pytest.mark.parametrize(
    "files, words",
    [
        ({"sys/class/drm/renderD128/device/vendor": "0x1002\n", "dev/kfd": ""}, ("hip", "vulkan")),
        ({"sys/class/drm/renderD128/device/vendor": "0x1002\n"}, ("vulkan",)),
        ({"sys/class/drm/renderD128/device/vendor": "0x8086\n"}, ("vulkan", "sycl")),
        ({"sys/class/drm/renderD128/device/vendor": "0x10de\n"}, ("vulkan",)),
        ({"dev/dxg": "", "usr/lib/wsl/lib/libcuda.so.1": ""}, ("cuda", "vulkan")),
    ],
)
def test_gpus_of_other_kinds(tmp_path: Path, files: dict[str, str], words: tuple[str, ...]) -> None:
    for path, text in files.items():
        write(tmp_path, path, text)
    assert [gpu.words for gpu in find_gpus(tmp_path)] == [words]


def test_what_an_engine_was_built_for_is_read_off_its_libraries(tmp_path: Path) -> None:
    for name in ("libggml.so", "libggml-base.so.0", "libggml-cpu-haswell.so", "libggml-rpc.so", "libllama.so"):
        write(tmp_path, name)
    assert built_for(tmp_path) == []
    write(tmp_path, "libggml-vulkan.so.0")
    write(tmp_path, "libggml-cuda.so")
    assert built_for(tmp_path) == ["cuda", "vulkan"]


def test_a_server_says_at_its_start_which_gpu_it_cannot_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "find_gpus", lambda: [Gpu("NVIDIA L4", ("cuda", "vulkan"))] * 8)
    monkeypatch.setattr(gpus, "library_folder", lambda: tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    write(tmp_path, "model.gguf")
    settings = Settings(models_path=tmp_path)
    [doubt] = find_doubts(settings)
    assert "NVIDIA L4" in doubt and "`make serve GPU=cuda`" in doubt
    write(tmp_path, "libggml-vulkan.so")
    assert not list(find_doubts(settings))
    monkeypatch.setattr(gpus, "library_folder", lambda: None)  # the engine is not installed
    assert not list(describe_unused_gpus())


def test_the_hint_loads_no_engine() -> None:
    code = (
        "import sys; from localai_flask.server.start_checks import find_doubts; from localai_flask.settings import "
        "Settings; list(find_doubts(Settings())); print({'llama_cpp', 'numpy', 'torch'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def library(**fields: Any) -> Library:
    return Library(**{"version": "1", "features": "AVX2", "has_rpc": True, "gpus": [], **fields})


def test_a_fault_that_repacking_causes_is_a_warning() -> None:
    found = explain_fault(Outcome(library(), fault="SIGILL"), Outcome(library(), Decoded(4)), Path("a/demo.gguf"))
    assert (found.status, "SIGILL" in found.text, "without repacked weights" in found.text) == ("warning", True, True)
    assert "make serve GPU=portable" in found.advice


def test_a_fault_that_stays_is_a_problem_with_another_build_as_its_cure() -> None:
    fault = Outcome(library(), fault="SIGSEGV")
    found = explain_fault(fault, fault, Path("a/demo.gguf"))
    assert found.status == "problem" and "also without repacked weights" in found.text
    portable = Outcome(library(variant="libggml-cpu-x64.so"), fault="SIGILL")
    assert explain_fault(portable, portable, Path("a")).advice.startswith("build it with another compiler: CC=clang")


def test_an_engine_that_cannot_be_loaded_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "is_installed", lambda name: True)
    monkeypatch.setattr(engine, "try_engine", lambda model, **_: Outcome(error="libggml.so: no such file"))
    [found] = check_engine()
    assert found.status == "problem" and "no such file" in found.text and found.advice
    monkeypatch.setattr(engine, "is_installed", lambda name: False)
    [found] = check_engine()
    assert found.status == "warning" and "localai-flask[llama-cpp]" in found.advice


def test_a_torch_without_cuda_is_noticed_where_there_is_a_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "torch/__init__.py", "raise RuntimeError('this takes seconds')")
    write(tmp_path, "torch/version.py", "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(engine, "is_installed", lambda name: True)
    monkeypatch.setattr(engine, "find_gpus", lambda: [Gpu("NVIDIA L4", ("cuda", "vulkan"))])
    [found] = engine.check_torch()
    assert found.status == "warning" and "NVIDIA L4, and torch 2.13.0+cpu" in found.text and "pip" in found.advice
    write(tmp_path, "torch/version.py", "__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\n")
    assert not list(engine.check_torch())
    write(tmp_path, "torch/version.py", "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n")
    monkeypatch.setattr(engine, "find_gpus", list)
    assert not list(engine.check_torch())


def test_gpus_are_compared_with_what_the_engine_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "is_installed", lambda name: True)
    monkeypatch.setattr(engine, "find_gpus", lambda: [Gpu("NVIDIA L4", ("cuda", "vulkan"))])
    monkeypatch.setattr(engine, "library_folder", lambda: tmp_path)
    outcome = Outcome(library())
    monkeypatch.setattr(engine, "try_engine", lambda model, **_: outcome)
    missing = next(found for found in check_engine() if found.topic == "GPU")
    assert (missing.status, missing.advice) == ("warning", "make serve GPU=cuda")
    write(tmp_path, "libggml-cuda.so")
    blind = next(found for found in check_engine() if found.topic == "GPU")
    assert blind.status == "warning" and "built for cuda and finds no GPU" in blind.text
    outcome = Outcome(library(gpus=[Device("CUDA0", "NVIDIA L4", 2 << 30, 22 << 30)]))
    used = [found for found in check_engine() if found.topic == "GPU"]
    assert [found.status for found in used] == ["ok"] and "CUDA0 (NVIDIA L4, 2.0 of 22.0 GiB free)" in used[0].text


def test_the_models_folder(tmp_path: Path) -> None:
    [found] = machine.check_models(Settings(models_path=tmp_path / "none"))
    assert found.status == "problem" and str(tmp_path / "none") in found.text
    [found] = machine.check_models(Settings(models_path=tmp_path))
    assert found.status == "warning"
    write(tmp_path, "good.yaml", "name: good\nbackend: echo\n")
    write(tmp_path, "bad.yaml", "name: bad\nbackend: nonsense\n")
    good, bad = machine.check_models(Settings(models_path=tmp_path))
    assert (good.status, "good" in good.text, bad.status, "bad" in bad.text) == ("ok", True, "warning", True)
    assert machine.smallest_gguf(Settings(models_path=tmp_path)) is None
    demo = Settings(models_path=Path("models"))
    assert machine.smallest_gguf(demo) == Path("models/demo.gguf").absolute()


def test_models_that_cannot_be_loaded_are_named(tmp_path: Path) -> None:
    write(tmp_path, "lost.yaml", "name: lost\nbackend: llama-cpp\nparameters: {model: lost.gguf}\n")
    write(tmp_path, "fetched.yaml", "name: fetched\nparameters: {model: pypi://some-package==1/some.gguf}\n")
    write(tmp_path, "off.yaml", "name: off\ndisabled: true\nparameters: {model: off.gguf}\n")
    write(tmp_path, "of_sglang.yaml", "name: of_sglang\nbackend: sglang\nparameters: {model: a/b}\n")
    _, lost, other = machine.check_models(Settings(models_path=tmp_path))
    assert other.status == "warning" and "of_sglang cannot be used: there is no engine sglang here" in other.text
    assert lost.status == "warning" and f"lost cannot be used: {tmp_path}/lost.gguf does not exist" in lost.text
    *_, unknown = machine.check_models(Settings(models_path=tmp_path, default_model="other"))
    assert unknown.status == "warning" and "'other'" in unknown.text and "LOCALAI_DEFAULT_MODEL" in unknown.advice


def test_broken_files_are_faults_of_their_models_and_not_of_the_engine(tmp_path: Path) -> None:
    whole = Path("models/demo.gguf").read_bytes()
    (tmp_path / "whole.gguf").write_bytes(whole)
    (tmp_path / "cut.gguf").write_bytes(whole[:-1000])
    (tmp_path / "page.gguf").write_text("<html>Not found</html>")
    settings = Settings(models_path=tmp_path)
    _, cut, page = machine.check_models(settings)
    assert cut.status == page.status == "warning"
    assert "cut.gguf cannot be used" in cut.text and "is cut off" in cut.text and cut.advice == "download it again"
    assert "page.gguf cannot be used" in page.text and "looks like a web page" in page.text
    assert machine.smallest_gguf(settings) == tmp_path / "whole.gguf"


MODELS = [
    {"id": "fine", "state": "ready"},
    {"id": "slow", "state": "ready", "given_up": "haste; hurry"},
    {"id": "lost", "state": "failed"},
]


@pytest.fixture
def server_port() -> Iterator[int]:
    """A server that tells of three models whoever has the key."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.headers["Authorization"] == "Bearer key" else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"data": MODELS}).encode())

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_the_running_server_is_asked_what_its_models_gave_up(server_port: int) -> None:
    settings = Settings(address=f"127.0.0.1:{server_port}", api_key=("key",))
    runs, slow, lost = machine.check_server(settings)
    assert runs.status == "ok" and "fine, slow" in runs.text
    assert slow.status == "warning" and "slow runs without haste; hurry" in slow.text
    assert lost.status == "problem" and "lost" in lost.text
    [refused] = machine.check_server(Settings(address=f"127.0.0.1:{server_port}"))
    assert refused.status == "warning" and "401" in refused.text and "LOCALAI_API_KEY" in refused.advice


def test_the_server_of_another_program_is_none_of_ours() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        thread = threading.Thread(target=lambda: other.accept()[0].close())
        thread.start()
        [found] = machine.check_server(Settings(address=f"127.0.0.1:{port}"))
        thread.join()
    assert found.status == "warning" and str(port) in found.text and "LOCALAI_ADDRESS" in found.advice


def test_no_server_is_no_problem(tmp_path: Path) -> None:
    for address in ("127.0.0.1:1", f"unix:{tmp_path}/none.sock"):
        [found] = machine.check_server(Settings(address=address))
        assert found.status == "ok" and address in found.text


@pytest.mark.parametrize("status, code", [("ok", 0), ("warning", 0), ("problem", 1)])
def test_a_problem_is_the_exit_code(monkeypatch: pytest.MonkeyPatch, status: Any, code: int, tmp_path: Path) -> None:
    monkeypatch.setattr(engine, "check_engine", lambda model: [Finding(status, "Engine", "So it is.", "do that")])
    write(tmp_path, "model.gguf")
    done = CliRunner().invoke(main, ["doctor", "--try", str(tmp_path / "model.gguf")])
    assert done.exit_code == code
    assert status in done.output and "So it is." in done.output and "do that" in done.output
    done = CliRunner().invoke(main, ["doctor", "--json", "--try", str(tmp_path / "model.gguf")])
    assert json.loads(done.output) == [{"status": status, "topic": "Engine", "text": "So it is.", "advice": "do that"}]
    assert done.exit_code == code


def test_settings_that_keep_a_server_from_starting_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALAI_NONSENSE", "1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    public = Settings(address="0.0.0.0:8080")
    found = {finding.text: finding.status for finding in check_settings(public, is_running=False)}
    [refusal] = [text for text, status in found.items() if status == "problem"]
    assert refusal.startswith("Refusing to listen on 0.0.0.0:8080 without an API key")
    assert any("LOCALAI_NONSENSE is no setting" in text and status == "warning" for text, status in found.items())
    running = check_settings(public, is_running=True)
    assert "problem" not in {finding.status for finding in running}, "it has started"


def test_settings_that_are_fine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOCALAI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    [finding] = check_settings(Settings(address="127.0.0.1:0"), is_running=False)
    assert finding.status == "ok" and finding.text.startswith("No variable sets any")
    monkeypatch.setenv("LOCALAI_WORKERS", "1")
    [finding] = check_settings(Settings(address="127.0.0.1:0"), is_running=False)
    assert finding.text.startswith("One variable sets them")


def test_little_room_on_the_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, status in ((1 << 30, "warning"), (1 << 40, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        [finding] = check_disk(tmp_path / "not" / "made" / "yet")
        assert (finding.status, str(tmp_path) in finding.text) == (status, True)


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (16e9, "1B 25, 4B 8.0, 8B 4.1, 14B 2.2. Larger ones do not fit."),
        (2e9, "1B 25. Larger ones do not fit."),
        (100e9, "32B 1.0, 70B 0.5."),
        (1e9, "too little free memory"),
    ],
)
def test_the_speed_of_models_that_fit(memory: float, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "available_memory", lambda: memory)
    monkeypatch.setattr(speed, "read_rate", lambda threads: 20e9)
    [finding] = speed.check_speed()
    assert said in finding.text


def test_the_rate_is_that_of_memory() -> None:
    assert 0.1e9 < speed.read_rate(2) < 4e12


def test_a_trial_tells_how_fast_it_was() -> None:
    outcome = try_engine(Path("models/demo.gguf"))
    assert outcome.decoded is not None and outcome.decoded.tokens == 24 and outcome.decoded.per_second > 1
