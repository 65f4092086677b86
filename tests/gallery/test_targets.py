"""Where files go in the models folder: nowhere else, and over no other file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from localai_flask.errors import ApiError, ConfigError
from localai_flask.gallery.download import fetch_files
from localai_flask.gallery.errors import DownloadFailed, NameTaken
from localai_flask.gallery.sources import RemoteFile
from tests.support.file_server import FileHandler, FileServer

CONTENT = b"what it is"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def fetch(folder: Path, *names: str, **more: object) -> list[Path]:
    with FileServer(FileHandler) as server:
        server.files["/x"] = CONTENT
        common = {"url": f"{server.root}/x", "private_addresses": True, "sha256": SHA256, **more}
        files = [RemoteFile(path=name, **common) for name in names]  # type: ignore[arg-type]
        found = fetch_files(files, folder, report=lambda _: None, stopped=lambda: False)
        assert len(server.asked) <= len(names)
        return found


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*"))


@pytest.mark.parametrize(
    "name",
    [
        *("../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "a//x", ".x", "x\0y", "x\ny", "CON", "aux.gguf", "a\\b", "C:x"),
        *(
            "．．/x",
            "a\u202ex",
            "e\u0301",
            "x" * 300,
            "model.yaml",
            "model.YML",
            "model.gguf.part",
            "\ud800",
            "",
            "~x",
            "x.",
        ),
    ],
)
def test_a_hostile_name_is_refused(folder: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="A file cannot be called"):
        fetch(folder, name)
    assert everything(folder) == ["models"]


def test_folders_are_made_and_yaml_may_lie_in_them(folder: Path) -> None:
    assert fetch(folder, "owner/repo/config.yaml", "é (1).gguf")[0].read_bytes() == CONTENT


def test_names_that_differ_only_in_case(folder: Path) -> None:
    with pytest.raises(ConfigError, match="differ only in case"):
        fetch(folder, "a/Model.gguf", "a/model.gguf")
    (folder / "Sub").mkdir()
    (folder / "Model.gguf").write_bytes(CONTENT)
    for name in ("model.gguf", "sub/x.gguf"):
        with pytest.raises(NameTaken, match="only in case"):
            fetch(folder, name)
    assert everything(folder) == ["models", "models/Model.gguf", "models/Sub"]


def test_links_that_lead_out_are_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "away").symlink_to(outside)
    (folder / "gone.gguf").symlink_to(tmp_path / "nothing")
    (folder / "passwd.gguf").symlink_to("/etc/passwd")
    for name in ("away/x.gguf", "gone.gguf", "passwd.gguf"):
        with pytest.raises(NameTaken, match="leads out of the models folder"):
            fetch(folder, name)
    (folder / "x.gguf.part").symlink_to(outside / "written")
    with pytest.raises(DownloadFailed, match="it is a link"):
        fetch(folder, "x.gguf")
    assert not list(outside.iterdir())


def test_a_link_inside_of_the_folder_and_a_folder_that_is_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "real").mkdir()
    (folder / "also").symlink_to(folder / "real")
    fetch(folder, "also/x.gguf")
    assert (folder / "real/x.gguf").read_bytes() == CONTENT
    (tmp_path / "link").symlink_to(folder)
    fetch(tmp_path / "link", "y.gguf")
    assert (folder / "y.gguf").exists()


def test_another_file_is_not_written_over(folder: Path) -> None:
    (folder / "x.gguf").write_bytes(b"another of 10")
    sums: list[dict[str, object]] = [{}, {"size": len(CONTENT)}, {"sha256": None, "git_sha1": "0" * 40}]
    for more in sums:
        with pytest.raises(NameTaken, match=r"x\.gguf is another file"):
            fetch(folder, "x.gguf", **more)
    (folder / "sub").mkdir()
    with pytest.raises(NameTaken, match="is no file"):
        fetch(folder, "sub")
    assert (folder / "x.gguf").read_bytes() == b"another of 10"


def test_the_same_file_is_not_fetched_again(folder: Path) -> None:
    with FileServer(FileHandler) as server:
        (folder / "x.gguf").write_bytes(CONTENT)
        file = RemoteFile(path="x.gguf", url=f"{server.root}/x", sha256=SHA256, size=len(CONTENT))
        fetch_files([file], folder, report=lambda _: None, stopped=lambda: False)
        assert not server.asked


def test_room_for_all_files_is_looked_for_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 20_000_000})())
    files = [RemoteFile(path=f"{name}.gguf", url="http://127.0.0.1:1/x", size=3_000_000) for name in "ab"]
    with pytest.raises(DownloadFailed, match=r"no room for a\.gguf and 1 more in .*: it takes 6 MB more, and 20 MB"):
        fetch_files(files, folder, report=lambda _: None, stopped=lambda: False)


def test_a_folder_that_is_read_only_is_named(folder: Path) -> None:
    (folder / "sub").write_text("a file")
    with pytest.raises(ApiError, match="Cannot write"):
        fetch(folder, "sub/x.gguf")
