"""The build of llama.cpp: its flags for each word and compiler, the wheels it keeps, and what it says."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localai_flask.engine_build import compilers, nvidia, wheel
from localai_flask.engine_build.compilers import BuildError, gets_amx_wrong
from localai_flask.engine_build.progress import Progress
from localai_flask.engine_build.targets import TARGETS, choose_flags
from localai_flask.engine_build.wheel import explain_failure

RIGHT, WRONG = "exit 0", "kill -ILL $$"
AMX_OFF = ["-DCMAKE_C_FLAGS=-mno-amx-int8", "-DCMAKE_CXX_FLAGS=-mno-amx-int8"]
COMPILER = """#!/bin/sh
while [ $# -gt 0 ]; do case $1 in -o) program=$2 ;; --version) echo {name} {outcome}; exit ;; esac; shift; done
printf '#!/bin/sh\\n{outcome}\\n' > "$program" && chmod +x "$program"
"""
NVCC = """#!/bin/sh
case $1 in
--list-gpu-arch) printf '{known}\\n' ;;
--version) echo release {release} ;;
-v) echo '#$ TOP={toolkit}' >&2 ;;
esac
"""


class Machine:
    """A PATH with the tools that a test puts there, and the usual ones of a shell."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("sh", "chmod"):
            (folder / name).symlink_to(shutil.which(name))

    def add(self, name: str, text: str = "#!/bin/sh\n") -> Path:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def add_cards(self, *capabilities: str) -> None:
        lines = "\\n".join(capabilities)
        self.add("nvidia-smi", f"#!/bin/sh\nprintf '{lines}\\n'\n")

    def add_nvcc(self, *architectures: str, release: str = "13.0") -> None:
        known = "\\n".join(f"compute_{each}" for each in architectures)
        self.add("nvcc", NVCC.format(known=known, release=release, toolkit=self.folder.parent / "toolkit"))

    def add_compilers(self, outcome: str, *names: str) -> None:
        for name in names or ("cc", "c++"):
            self.add(name, COMPILER.format(name=name, outcome=outcome))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    folder = tmp_path / "bin"
    folder.mkdir()
    machine = Machine(folder)
    monkeypatch.setenv("PATH", str(folder))
    for name in ("CC", "CXX", "CFLAGS", "CXXFLAGS", "CMAKE_ARGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(nvidia, "FOLDERS", ())
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(sys, "platform", "linux")
    return machine


def test_each_word_has_its_flags(machine: Machine) -> None:
    machine.add_compilers(RIGHT)
    machine.add_compilers(RIGHT, "icx", "icpx")
    for name in ("nvcc", "glslc", "hipcc"):
        machine.add(name)
    assert choose_flags([]) == choose_flags(["cpu"]) == ["-DGGML_RPC=ON"]
    every_card = "-DCMAKE_CUDA_ARCHITECTURES=all-major"
    assert choose_flags(["cuda"]) == ["-DGGML_RPC=ON", "-DGGML_CUDA=ON", every_card]
    assert choose_flags(["Vulkan"]) == ["-DGGML_RPC=ON", "-DGGML_VULKAN=ON"]
    assert choose_flags(["hip"]) == ["-DGGML_RPC=ON", "-DGGML_HIP=ON"]
    sycl = choose_flags(["sycl"])
    assert "-DGGML_SYCL=ON" in sycl and "-DCMAKE_C_COMPILER=icx" in sycl and "-DCMAKE_CXX_COMPILER=icpx" in sycl
    both = choose_flags(["cuda,portable"])
    assert {"-DGGML_CUDA=ON", "-DGGML_BACKEND_DL=ON", "-DGGML_CPU_ALL_VARIANTS=ON", "-DGGML_NATIVE=OFF"} < {*both}


def test_kernels_are_compiled_for_the_cards_that_are_there(machine: Machine) -> None:
    machine.add_compilers(RIGHT)
    machine.add_nvcc("75", "86", "90")
    machine.add_cards("9.0", "8.6", "9.0")
    assert "-DCMAKE_CUDA_ARCHITECTURES=86;90" in choose_flags(["cuda"])
    assert not [flag for flag in choose_flags(["cuda", "portable"]) if "ARCHITECTURES" in flag]
    own = {"CMAKE_ARGS": "-DCMAKE_CUDA_ARCHITECTURES=75"}
    assert [flag for flag in choose_flags(["cuda"], own) if "ARCHITECTURES" in flag] == [own["CMAKE_ARGS"]]
    machine.add_cards("12.0")
    with pytest.raises(BuildError, match=r"a card of NVIDIA's architecture 120, which .*/nvcc does not know"):
        choose_flags(["cuda"])


def test_a_first_build_takes_a_card_that_can_be_built_for(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    machine.add_compilers(RIGHT)
    machine.add_nvcc("75", "90")
    builds = Builds(monkeypatch, tmp_path)
    wheel.install([])
    assert builds.built == [("cpu",)] and not capsys.readouterr().err

    def install_anew() -> str:
        wheel.RECORD.unlink()
        wheel.install([])
        return capsys.readouterr().err

    machine.add_cards("9.0")
    assert "has an NVIDIA card and no cuBLAS" in install_anew() and builds.built == [("cpu",)]
    (tmp_path / "toolkit" / "include").mkdir(parents=True)
    (tmp_path / "toolkit" / "include" / "cublas_v2.h").touch()
    machine.add_cards("12.0")
    assert "architecture 120" in install_anew() and builds.built == [("cpu",)]
    machine.add_cards("9.0")
    assert "GPU=cpu leaves it out" in install_anew() and builds.built == [("cpu",), ("cuda",)]
    (machine.folder / "nvcc").unlink()
    monkeypatch.setattr("localai_flask.engine_build.targets.find_tool", lambda word: "")
    assert "has an NVIDIA card and no nvcc" in install_anew() and builds.built == [("cpu",), ("cuda",)]


def test_another_card_or_toolkit_needs_another_wheel(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add_compilers(RIGHT)
    machine.add_nvcc("75", "86", "90")
    machine.add_cards("9.0")
    builds = Builds(monkeypatch, tmp_path)
    wheel.install(["cuda"])
    wheel.install([])
    assert len(builds.built) == 1
    (machine.folder / "nvidia-smi").rename(tmp_path / "away")
    wheel.install([])  # as while the driver is changed
    assert len(builds.built) == 1
    machine.add_cards("8.6")
    wheel.install([])
    assert len(builds.built) == 2
    machine.add_nvcc("75", "86", "90", release="14.0")
    wheel.RECORD.unlink()
    wheel.install(["cuda"])
    assert len(builds.built) == 3


@pytest.mark.parametrize("wrong", ["cc", "c++"])
def test_a_compiler_that_gets_amx_wrong_does_without(machine: Machine, wrong: str) -> None:
    machine.add_compilers(RIGHT)
    machine.add_compilers(WRONG, wrong)
    assert choose_flags([]) == ["-DGGML_RPC=ON", *AMX_OFF]
    assert "-DCMAKE_CXX_FLAGS=-U__AMX_INT8__" in choose_flags(["portable"])


def test_a_compiler_that_knows_no_amx_makes_no_mistake(machine: Machine) -> None:
    for name in ("cc", "c++"):
        machine.add(name, "#!/bin/sh\nexit 1\n")
    assert choose_flags([]) == ["-DGGML_RPC=ON"]


def test_the_compilers_of_the_user_are_tried(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add_compilers(RIGHT)
    machine.add_compilers(WRONG, "mine")
    assert choose_flags([], {"CC": "mine --fast"}) == ["-DGGML_RPC=ON", *AMX_OFF]
    assert choose_flags([], {}) == ["-DGGML_RPC=ON"]


def test_the_users_own_flags_win_and_are_kept_beside_ours(machine: Machine) -> None:
    machine.add_compilers(WRONG)
    own = {"CMAKE_ARGS": "-DGGML_RPC=OFF '-DCMAKE_C_FLAGS:STRING=-g -O1'", "CXXFLAGS": "-g"}
    assert choose_flags([], own) == [
        *("-DGGML_RPC=ON", "-DCMAKE_C_FLAGS=-g -O1 -mno-amx-int8", "-DCMAKE_CXX_FLAGS=-g -mno-amx-int8"),
        "-DGGML_RPC=OFF",
    ]


@pytest.mark.parametrize("word", ["cuda", "vulkan", "hip", "sycl"])
def test_a_missing_toolkit_is_named_with_what_brings_it(
    machine: Machine, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add_compilers(RIGHT)
    monkeypatch.setitem(TARGETS, word, TARGETS[word].__class__(**{**vars(TARGETS[word]), "folders": ()}))
    with pytest.raises(BuildError, match=rf"build for {word} needs {TARGETS[word].tool}, .*install "):
        choose_flags([word])


def test_a_toolkit_beside_path_is_named_to_cmake(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.add_compilers(RIGHT)
    nvcc = machine.add("nvcc").rename(machine.folder.parent / "nvcc")
    target = TARGETS["cuda"].__class__(**{**vars(TARGETS["cuda"]), "folders": (str(nvcc.parent),)})
    monkeypatch.setitem(TARGETS, "cuda", target)
    assert f"-DCMAKE_CUDA_COMPILER={nvcc}" in choose_flags(["cuda"])


def test_what_is_not_there_is_said(machine: Machine) -> None:
    with pytest.raises(BuildError, match=r"no compiler 'cc'.* apt install build-essential"):
        choose_flags([])
    with pytest.raises(BuildError, match=r"no compiler 'nope'.* name yours in CC"):
        choose_flags([], {"CC": "nope"})
    with pytest.raises(BuildError, match=r"no build 'gpu'; choose among: cpu, cuda, vulkan, hip, sycl, portable"):
        choose_flags(["gpu"])


LOADCONFIG = "_tile_loadconfig(&config);"


@pytest.mark.skipif(platform.machine() != "x86_64" or not shutil.which("gcc"), reason="needs GCC for x86-64")
@pytest.mark.parametrize("operand, wrong", [("const char(*)[64]", False), ("const char *", True)])
def test_the_probe_tells_right_code_from_wrong(
    tmp_path: Path, operand: str, wrong: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All bytes of the operand are declared as read, as newer compilers do, or only the first, as GCC 12 does."""
    text = compilers.PROBE.read_text()
    assert text.count(LOADCONFIG) == 1
    own = f'__asm__ volatile("ldtilecfg\\t%0" :: "m"(*(({operand})(void *)&config)));'
    monkeypatch.setattr(compilers, "PROBE", tmp_path / "probe.c")
    compilers.PROBE.write_text(text.replace(LOADCONFIG, own))
    assert (
        subprocess.run(["gcc", "-x", "c", "-mamx-tile", "-fsyntax-only", compilers.PROBE], check=False).returncode == 0
    )
    assert gets_amx_wrong({"CC": ["gcc"]}) is wrong
    if shutil.which("g++"):
        assert gets_amx_wrong({"CXX": ["g++"]}) is wrong


@pytest.mark.parametrize("step", ["[{}/400] /usr/bin/g++ -c x.cpp", "[{:3d}%] Building CXX object x.o"])
def test_progress_is_estimated_from_the_builds_own_pace(step: str) -> None:
    total = 400 if "/400" in step else 100
    progress = Progress(240.0, now=0.0)
    assert progress.describe(5.0) == "Preparing llama.cpp: 0:05 min"
    progress.read("  Collecting llama-cpp-python[12/13]", 6.0)
    assert progress.describe(7.0).startswith("Preparing")
    progress.read(step.format(1), 20.0)
    assert progress.left_s(30.0) == pytest.approx(210.0)  # too early for a pace: what was expected
    progress.read(step.format(total // 2), 120.0)
    assert progress.left_s(120.0) == pytest.approx(100.0, rel=0.03)
    assert progress.describe(120.0).startswith("Compiling llama.cpp: 50%, about 1:4")
    progress.read("note: [ of no step", 121.0)
    progress.read(step.format(total), 220.0)
    assert progress.left_s(230.0) == 0


def test_a_build_for_cards_is_expected_to_take_longer() -> None:
    plain = wheel._core_minutes(["-DGGML_RPC=ON"])
    one, two, every = (
        wheel._core_minutes(["-DGGML_CUDA=ON", f"-DCMAKE_CUDA_ARCHITECTURES={each}"])
        for each in ("90", "86;90", "all-major")
    )
    assert one - plain == two - one > plain and every > two


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(capsys: pytest.CaptureFixture) -> None:
    progress = Progress(240.0, now=0.0)
    for now in range(61):
        progress.show(float(now))
    assert capsys.readouterr().err.count("\n") == 4


def test_a_failure_names_its_first_errors_and_the_log() -> None:
    said = explain_failure("a.cpp:1:2: error: no such thing\nnote: fine\nCMake Error at x: y\n")
    assert str(wheel.LOG) in said and "no such thing" in said and "CMake Error at x" in said and "fine" not in said
    assert "NVCC_CCBIN" in explain_failure(
        "#error -- unsupported GNU version! gcc versions later than 15 are not supported!"
    )
    assert "without cuBLAS" in explain_failure("CMake Error: The link interface contains: CUDA::cublas but not found")
    assert "CMAKE_BUILD_PARALLEL_LEVEL=1" in explain_failure(
        "c++: fatal error: Killed signal terminated program cc1plus"
    )


def test_a_builds_output_goes_to_the_log_and_its_end_is_told(tmp_path: Path) -> None:
    log, progress = tmp_path / "build.log", Progress(60.0)
    says = (
        "import sys; print('[1/2] cc a.c'); print('a.c:1: error: no', file=sys.stderr); print('[2/2] cc b.c', end='')"
    )
    wheel.run_build([sys.executable, "-c", says], os.environ, progress, log)
    assert progress.done == 0.5  # the last line has no end
    assert log.read_text().count("cc ") == 2
    with pytest.raises(BuildError, match=r"could not be built.*build\.log\n    a\.c:1: error: no"):
        wheel.run_build([sys.executable, "-c", f"{says}; sys.exit(3)"], os.environ, progress, log)


class Builds:
    """What `install` builds and installs, without doing either."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path):
        self.built: list[tuple[str, ...]] = []
        self.installed: list[str] = []
        self._run_for_real = subprocess.run
        monkeypatch.setattr(wheel, "RECORD", folder / "record.json")
        monkeypatch.setattr(wheel, "_build", self._build)
        monkeypatch.setattr(wheel, "_installed", wheel.read_version)
        monkeypatch.setattr(wheel.subprocess, "run", self._run)
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))

    def _build(self, version: str, flags: list[str], words: list[str], folder: Path) -> None:
        self.built.append(tuple(words))
        folder.mkdir(parents=True)
        (folder / "llama_cpp_python-1-py3-none-any.whl").touch()

    def _run(self, command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        if Path(command[0]).name in ("nvcc", "nvidia-smi"):
            return self._run_for_real(command, **how)
        if "install" in command:
            self.installed.append(command[-1])
        return subprocess.CompletedProcess(command, 0, stdout="a compiler", stderr="")


def test_a_wheel_is_built_once_for_each_kind_of_build(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add_compilers(RIGHT)
    machine.add("nvcc")
    builds = Builds(monkeypatch, tmp_path)
    for words in ([], [], ["cuda"], [], ["cpu"], ["cuda"]):
        wheel.install(words)
    assert builds.built == [("cpu",), ("cuda",)]
    first, second, third, fourth = builds.installed
    assert first == third != second == fourth
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_BLAS=ON")
    wheel.install([])
    assert builds.built[-1] == ("cuda",) and len(builds.built) == 3
    monkeypatch.delenv("CMAKE_ARGS")
    wheel.install([])  # the environment keeps what it was built with
    assert len(builds.built) == 3 and json.loads(wheel.RECORD.read_text())["cmake_args"] == "-DGGML_BLAS=ON"


def test_another_processor_or_compiler_needs_another_wheel(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add_compilers(RIGHT)
    builds = Builds(monkeypatch, tmp_path)
    wheel.install([])
    monkeypatch.setattr(wheel, "_processor", lambda words: "another")
    wheel.install([])
    assert len(builds.built) == 2
    monkeypatch.setattr(wheel, "describe_compilers", lambda compilers: ["another"])
    wheel.RECORD.unlink()
    wheel.install([])
    assert len(builds.built) == 3


def test_an_engine_that_somebody_removed_is_put_back(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.add_compilers(RIGHT)
    builds = Builds(monkeypatch, tmp_path)
    wheel.install([])
    monkeypatch.setattr(wheel, "_installed", lambda: "")
    wheel.install([])
    assert len(builds.built) == 1 and len(builds.installed) == 2


def test_it_runs_on_a_bare_python() -> None:
    """Without site packages, as before anything is installed."""
    command = [sys.executable, "-S", "-m", "localai_flask.engine_build", "flags", "nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=wheel.CHECKOUT, check=False)
    assert done.returncode == 1 and done.stderr.startswith("Error: There is no build 'nonsense'")


def test_the_page_names_the_words_that_exist() -> None:
    page = (wheel.CHECKOUT / "docs" / "install.md").read_text()
    assert set(re.findall(r"^\| `make serve(?: GPU=(\w+))?` ", page, re.MULTILINE)) - {""} | {"cpu"} == set(TARGETS)


def test_the_container_file_takes_what_is_there() -> None:
    folder = wheel.CHECKOUT / "deploy" / "docker"
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    let_in = re.findall(r"^!(.+)$", (folder / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    for source in " ".join(sources).split():
        assert (wheel.CHECKOUT / source).exists()
        assert any(source == each or source.startswith(f"{each}/") for each in let_in), source
