"""Servers that send without end, slowly, or less than they say: none takes memory, disk or a thread for ever."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from localai_flask.errors import ApiError, ConfigError
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.index.texts import fetch_text
from localai_flask.gallery.sources import RemoteFile
from localai_flask.gallery.transport import bounded_answers
from localai_flask.gallery.transport.remote import open_session
from localai_flask.gallery.transport.remote_header import read_header
from tests.support.fetching import OPERATOR, fetch_to, locate
from tests.support.file_server import FileHandler, FileServer

PIECE = b"x" * (1 << 16)
MOST_SENT = 64 << 20
"""What the server sends at most; more than sockets buffer, by far."""


class Hostile(FileServer):
    """A server that misbehaves by the path; `sent` counts the bytes of the last answer."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.sent = 0


class _Handler(FileHandler):
    owner: Hostile

    def answer(self, path: str) -> None:
        self.owner.sent, self.close_connection = 0, True
        try:
            getattr(self, f"send_{urlsplit(path).path.strip('/').partition('.')[0]}")()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def send_redirect(self) -> None:
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: /whole.yaml\r\n")
        self.send_endless_chunks()

    def send_endless(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        self.send_endless_chunks()

    def send_endless_chunks(self) -> None:
        self.wfile.write(b"Transfer-Encoding: chunked\r\n\r\n")
        while self.owner.sent < MOST_SENT:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(PIECE), PIECE))
            self.owner.sent += len(PIECE)

    def send_whole(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    def send_cut(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    def send_slowly(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        self.drip()

    def send_headers_slowly(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
        self.drip()

    def drip(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            self.wfile.write(b"x")
            time.sleep(0.02)


@pytest.fixture
def server() -> Iterator[Hostile]:
    with Hostile() as server:
        yield server


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_answers, "TEXT_S", 0.2)
    monkeypatch.setattr(bounded_answers, "HEADERS_S", 0.2)


def test_what_comes_with_a_redirect_is_not_read(server: Hostile) -> None:
    assert fetch_text(f"{server.root}/redirect.yaml", OPERATOR).text == "ok"
    assert server.sent < MOST_SENT


def test_a_text_that_is_cut_off_is_none(server: Hostile) -> None:
    with pytest.raises(DownloadFailed, match="ended early"):
        fetch_text(f"{server.root}/cut.yaml", OPERATOR)


@pytest.mark.usefixtures("hurry")
@pytest.mark.parametrize("path", ["slowly", "headers_slowly"])
def test_nobody_waits_long_for_a_text_that_comes_by_bytes(server: Hostile, path: str) -> None:
    began = time.monotonic()
    if path == "slowly":
        with pytest.raises(DownloadFailed, match="takes more than"):
            fetch_text(f"{server.root}/{path}.yaml", OPERATOR)
    else:
        assert fetch_text(f"{server.root}/{path}.yaml", OPERATOR).text == ""
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("hurry")
def test_nobody_waits_long_for_a_proxy_either(server: Hostile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.root)
    monkeypatch.setenv("no_proxy", "")
    began = time.monotonic()
    assert open_session().get("http://example.com/headers_slowly", timeout=60).content == b""
    assert time.monotonic() - began < 10


@pytest.mark.usefixtures("hurry")
def test_nobody_waits_long_for_a_header_that_comes_by_bytes(server: Hostile, tmp_path: Path) -> None:
    began = time.monotonic()
    file = RemoteFile(path="x.gguf", url=f"{server.root}/slowly.gguf", private_addresses=True)
    assert read_header(file, tmp_path) is None
    assert time.monotonic() - began < 10


def test_a_file_without_end_leaves_the_disk_some_room(
    server: Hostile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage, target = shutil.disk_usage(tmp_path), tmp_path / "x.gguf"

    def disk_usage(_: object) -> object:
        part = target.with_name("x.gguf.part")
        return usage._replace(free=(20 << 20) - (part.stat().st_size if part.exists() else 0))

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    with pytest.raises(ConfigError, match="does not say how large"):
        fetch_to(target, locate(f"{server.root}/endless.gguf#sha256={'0' * 64}"))
    assert server.sent < MOST_SENT and not target.with_name("x.gguf.part").exists()


def test_a_text_without_end_is_refused(server: Hostile) -> None:
    with pytest.raises(ApiError, match="that is no gallery"):
        fetch_text(f"{server.root}/endless.yaml", OPERATOR)
