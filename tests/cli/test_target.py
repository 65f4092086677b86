"""Which server the commands talk to, and what they say if that does not work."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask.cli.client.client import Client
from localai_flask.cli.client.target import Target, find_target
from localai_flask.cli.exit_codes import CommandFailed
from tests.cli.conftest import FakeServer, run


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"LOCALAI_URL": "http://a:1", "LOCALAI_ADDRESS": "b:2", "OPENAI_BASE_URL": "http://c/v1"}, "http://a:1"),
        ({"LOCALAI_ADDRESS": "b:2", "OPENAI_BASE_URL": "http://c/v1"}, "http://b:2"),
        ({"LOCALAI_ADDRESS": "", "OPENAI_BASE_URL": "https://c/prefix/v1/"}, "https://c/prefix"),
        ({"LOCALAI_ADDRESS": ""}, "http://127.0.0.1:8080"),
        ({"LOCALAI_ADDRESS": ":81"}, "http://127.0.0.1:81"),
        ({"LOCALAI_ADDRESS": "[::1]:81"}, "http://[::1]:81"),
        ({"LOCALAI_URL": "gpu:8080"}, "http://gpu:8080"),
    ],
)
def test_where_the_server_is(variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert find_target().url == url


@pytest.mark.parametrize("text", ["ftp://a", "http://", "http://:8080", "a:99999", "http://a:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    result = run("ps", "--url", text)
    assert result.exit_code == 2 and f"'{text}' is no address of a server" in result.stderr


def test_the_settings_file_says_where_the_server_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "settings"
    file.write_text("LOCALAI_ADDRESS=127.0.0.1:77\nLOCALAI_API_KEY=one,two\n")
    monkeypatch.delenv("LOCALAI_ADDRESS")
    monkeypatch.setenv("LOCALAI_SETTINGS_FILE", str(file))
    assert find_target() == Target("http://127.0.0.1:77", "one")


def test_the_key_of_openai_is_sent_to_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "theirs")
    assert find_target().api_key == "" and find_target("http://a").api_key == ""
    monkeypatch.setenv("LOCALAI_ADDRESS", "")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://c/v1")
    assert find_target().api_key == "theirs"
    assert find_target(api_key="mine").api_key == "mine"


def test_a_key_is_sent_whatever_netrc_says(fake: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert run("list", "--api-key", "secret").exit_code == 0
    assert fake.headers[-1]["Authorization"] == "Bearer secret"


def test_a_unix_socket_is_reached(unix_fake: FakeServer) -> None:
    result = run("list", "--url", unix_fake.url)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("small\t")


def test_without_a_server_it_is_said_how_to_start_one() -> None:
    result = run("ps")
    assert result.exit_code == 3
    assert "No server answers at http://127.0.0.1:1; start one with `localai-flask serve`" in result.stderr
    assert "check the address" in run("ps", "--url", "http://127.0.0.1:1").stderr


@pytest.mark.parametrize(("status", "code"), [(404, 4), (401, 5), (403, 5), (500, 1), (503, 1)])
def test_exit_codes(fake: FakeServer, status: int, code: int) -> None:
    fake.answers["GET /system"] = (status, {"error": {"message": "So it is."}})
    result = run("ps")
    assert result.exit_code == code
    assert "So it is." in result.stderr
    assert ("--api-key" in result.stderr) is (code == 5)
    assert ("Check the key" in run("ps", "--api-key", "wrong").stderr) is (status == 401)


def test_another_kind_of_server_is_named_as_such(fake: FakeServer) -> None:
    fake.answers["GET /v1/models"] = (200, ["what"])
    result = run("list")
    assert result.exit_code == 1
    assert "does not answer as this server does" in result.stderr


def test_an_error_in_a_stream_is_an_error(fake: FakeServer) -> None:
    chunk = {"choices": [{"delta": {"content": "Hel"}}]}
    fake.answers["POST /x"] = (200, [chunk, {"error": {"message": "It fell over."}}])
    stream = Client(Target(fake.url)).stream("/x", {})
    assert b"Hel" in next(stream)
    with pytest.raises(CommandFailed, match=r"It fell over\."):
        next(stream)


@pytest.mark.parametrize("text", ["ftp://x", "unix:" + "a" * 200])
def test_an_address_that_is_none_is_wrong_usage(text: str) -> None:
    assert run("ps", "--url", text).exit_code == 2
