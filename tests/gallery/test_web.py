"""Files at plain web addresses: resumed without a checksum only if they are the same, and whole or not there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.errors import ApiError, ConfigError
from localai_flask.gallery.download import fetch_files
from localai_flask.gallery.errors import DownloadFailed, PrivateAddress, Stopped
from localai_flask.gallery.progress import Progress
from localai_flask.gallery.sources import Access
from localai_flask.gallery.transport import remote, transfer
from localai_flask.gallery.transport.public_addresses import check_host
from tests.support.fetching import fetch_to, locate, offer_of
from tests.support.file_server import FileHandler, FileServer
from tests.support.gguf_models import SAYING, chain_model
from tests.support.processes import wait_for

FETCH = """
import sys
from pathlib import Path
from localai_flask.gallery.download import fetch_files
from tests.support.fetching import offer_of
fetch_files(offer_of(sys.argv[1]).files, Path(sys.argv[2]), report=lambda _: None, stopped=lambda: False)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return chain_model(tmp_path_factory.mktemp("web") / "m.gguf", SAYING).read_bytes()


@pytest.fixture
def server(model: bytes) -> Iterator[FileServer]:
    with FileServer(FileHandler) as server:
        server.files["/m.gguf"] = model
        yield server


@pytest.fixture
def target(tmp_path: Path, model: bytes) -> Iterator[Path]:
    """Where the file goes; whatever a test did, what is there under that name is whole."""
    target = tmp_path / "models/m.gguf"
    yield target
    assert not target.exists() or target.read_bytes() == model


def fetch(server: FileServer, target: Path, sum: str = "") -> list[Progress]:
    return fetch_to(target, locate(f"{server.root}/m.gguf{sum}"))


def refused(server: FileServer, target: Path, sum: str = "", kind: type[ApiError] = ConfigError) -> str:
    with pytest.raises(kind) as raised:
        fetch(server, target, sum)
    assert not target.exists()
    return str(raised.value)


def start(server: FileServer, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FETCH, f"{server.root}/m.gguf", str(folder)])


def ranges(server: FileServer) -> list[str | None]:
    return [asked for _, asked in server.asked]


def test_a_file_without_a_sum_is_resumed_by_its_etag(server: FileServer, target: Path) -> None:
    server.behaviour.cut_after = [1_000_000, *[0] * transfer.TRIES]
    assert "the next try goes on" in refused(server, target, kind=DownloadFailed)
    server.asked.clear()
    fetch(server, target)
    assert ranges(server) == ["bytes=1000000-"]
    assert [path.name for path in target.parent.iterdir()] == ["m.gguf"]


def test_another_version_is_begun_anew(server: FileServer, target: Path, model: bytes) -> None:
    server.files["/m.gguf"] = b"GGUF" + bytes(len(model) - 4)
    server.behaviour.cut_after = [1_000_000, *[0] * transfer.TRIES]
    refused(server, target, kind=DownloadFailed)
    server.files["/m.gguf"] = model
    server.asked.clear()
    fetch(server, target)
    assert ranges(server) == ["bytes=1000000-"]  # and the answer was the whole file


def test_without_an_etag_it_is_begun_anew(server: FileServer, target: Path) -> None:
    server.behaviour.has_etags = False
    server.behaviour.cut_after = [1_000_000, *[0] * transfer.TRIES]
    refused(server, target, kind=DownloadFailed)
    server.asked.clear()
    fetch(server, target)
    assert ranges(server) == [None]


def test_a_killed_download_is_resumed_and_two_processes_make_one(server: FileServer, target: Path) -> None:
    server.behaviour.pause_s = 0.02
    part = target.with_name("m.gguf.part")
    with start(server, target.parent) as first:
        wait_for(lambda: part.exists() and part.stat().st_size > 500_000, 20, "some bytes have come")
        first.kill()
    kept = part.stat().st_size
    both = [start(server, target.parent) for _ in range(2)]
    assert [each.wait(30) for each in both] == [0, 0]
    assert ranges(server) == [None, f"bytes={kept}-"]
    assert [path.name for path in target.parent.iterdir()] == ["m.gguf"]


def test_what_is_no_model_is_thrown_away(server: FileServer, target: Path, model: bytes) -> None:
    server.behaviour.replaced_by = b"<html>please log in</html>"
    assert "is not a GGUF file: it looks like a web page" in refused(server, target)
    server.behaviour.replaced_by = model[:-1000]
    assert "is cut off" in refused(server, target)
    server.behaviour.replaced_by = model[:-1] + b"\0"
    assert "checksum" in refused(server, target, f"#sha256={hashlib.sha256(model).hexdigest()}")
    assert not list(target.parent.iterdir())


def test_a_file_of_unknown_length_needs_a_sum(server: FileServer, target: Path, model: bytes) -> None:
    server.behaviour.has_lengths = False
    assert "does not say how large m.gguf is" in refused(server, target)
    fetch(server, target, f"#sha256={hashlib.sha256(model).hexdigest()}")
    assert target.exists()


def test_a_busy_server_is_left_alone_for_as_long_as_it_says(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(transfer.Transfer, "_wait", lambda _, seconds: waits.append(seconds))
    server.behaviour.statuses, server.behaviour.retry_after = [429, 503], "7"
    fetch(server, target)
    assert waits == [7, 7]
    target.unlink()
    server.behaviour.statuses, server.behaviour.retry_after = [429], "Wed, 21 Oct 2065 07:28:00 GMT"
    fetch(server, target)
    assert waits[2:] == [transfer.LONGEST_PAUSE_S]


def test_a_silent_server_is_asked_again(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "READ_S", 0.2)
    server.behaviour.silent_s = 1.0
    threading.Timer(0.5, setattr, (server.behaviour, "silent_s", 0.0)).start()
    fetch(server, target)
    assert len(server.asked) > 1


def test_a_download_is_stopped_and_resumed(server: FileServer, target: Path) -> None:
    server.behaviour.pause_s = 0.05
    file, seen = locate(f"{server.root}/m.gguf"), []
    with pytest.raises(Stopped):
        fetch_files([file], target.parent, report=seen.append, stopped=lambda: len(seen) > 2)
    kept = target.with_name("m.gguf.part").stat().st_size
    assert kept >= seen[-1].done and seen[-1].file == "m.gguf"
    server.asked.clear()
    fetch(server, target)
    assert ranges(server) == [f"bytes={kept}-"]


def test_a_download_that_waits_is_stopped(server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "FIRST_PAUSE_S", 60.0)
    server.behaviour.statuses = [503]
    begun = time.monotonic()
    with pytest.raises(Stopped):
        fetch_files(
            [locate(f"{server.root}/m.gguf")],
            target.parent,
            report=lambda _: None,
            stopped=lambda: time.monotonic() - begun > 0.5,
        )


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://example.org/x", "/loop"])
def test_a_redirect_to_nowhere_is_refused_at_once(server: FileServer, target: Path, location: str) -> None:
    server.redirects = {"/m.gguf": location, "/loop": "/loop"}
    assert "Cannot fetch m.gguf" in refused(server, target)
    assert not target.with_name("m.gguf.part").exists()


def test_strangers_are_not_led_to_this_machine(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PrivateAddress):
        fetch_to(target, offer_of(f"{server.root}/m.gguf", Access(Path())).files[0])
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", server.port))])
    with pytest.raises(PrivateAddress, match=r"models\.example\.org is on this machine"):
        fetch_to(target, offer_of(f"http://models.example.org:{server.port}/m.gguf", Access(Path())).files[0])
    assert not server.authorizations and not target.exists()


def test_strangers_are_not_redirected_to_this_machine(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.redirects = {"/away": f"http://127.0.0.2:{server.port}/m.gguf"}
    monkeypatch.setattr("localai_flask.gallery.transport.public_addresses.is_public", lambda ip: str(ip) == "127.0.0.1")
    with pytest.raises(PrivateAddress, match=r"127\.0\.0\.2 is on this machine"):
        fetch_to(target, offer_of(f"http://127.0.0.1:{server.port}/away", Access(Path())).files[0])
    assert len(server.authorizations) == 1


def test_a_proxy_is_not_asked_for_private_addresses(
    server: FileServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.root)
    monkeypatch.setenv("no_proxy", "")
    server.files["http://models.example.org/m.gguf"] = server.files["/m.gguf"]
    fetch_to(target, offer_of("http://models.example.org/m.gguf", Access(Path())).files[0])
    with pytest.raises(PrivateAddress):
        fetch_to(target.with_name("x.gguf"), offer_of("http://10.0.0.1/m.gguf", Access(Path())).files[0])
    assert len(server.authorizations) == 1


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "[::1]"),
        *(
            "::ffff:127.0.0.1",
            "fe80::1%eth0",
            "fd00::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "64:ff9b:1::7f00:1",
            "::127.0.0.1",
            "localhost",
            "a.localhost",
        ),
        *("printer", "nas.local", "metadata.google.internal", ""),
    ],
)
def test_hosts_that_are_none_of_the_internet(host: str) -> None:
    with pytest.raises(PrivateAddress):
        check_host(host)


def test_hosts_of_the_internet() -> None:
    for host in ("huggingface.co", "8.8.8.8", "[2606:4700::1111]", "64:ff9b::808:808"):
        check_host(host)


def test_each_file_is_reported_as_a_part_of_all(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"/a.dat": bytes(100_000), "/b.dat": bytes(200_000)}
    files = [locate(f"{server.root}/{name}") for name in ("a.dat", "b.dat")]
    reports: list[Progress] = []
    fetch_files(files, tmp_path / "models", report=reports.append, stopped=lambda: False)
    assert {report.file for report in reports} == {"a.dat", "b.dat"}
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert reports[-1].done == 300_000 and reports[-1].total is None  # nobody has said a size
