"""Behind a proxy: who is believed, the client's address, and links below a prefix."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from localai_flask.settings import Settings


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, "trusted_proxies": ("10.1.0.0/16", "2001:db8::1")}


@pytest.fixture
def app(app: Flask) -> Flask:
    app.add_url_rule("/where", view_func=lambda: {"from": request.remote_addr, "root": request.script_root})
    return app


def where(client: FlaskClient, peer: str, path: str = "/where", **headers: str) -> Any:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.get(path, headers=sent, environ_base={"REMOTE_ADDR": peer}).get_json()


@pytest.mark.parametrize(
    ("peer", "forwarded", "client_address"),
    [
        ("10.1.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.1.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("10.1.0.1", "192.0.2.7, 10.1.2.3", "192.0.2.7"),
        ("10.1.0.1", "10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::7", "2001:db8::7"),
        ("", "192.0.2.7", "192.0.2.7"),
        ("10.2.0.1", "192.0.2.7", "10.2.0.1"),
        ("10.1.0.1", "192.0.2.7, <script>", "10.1.0.1"),
        ("10.1.0.1", "", "10.1.0.1"),
    ],
)
def test_a_request_comes_from_the_last_address_that_is_no_trusted_proxy(
    client: FlaskClient, peer: str, forwarded: str, client_address: str
) -> None:
    assert where(client, peer, X_Forwarded_For=forwarded)["from"] == client_address


@pytest.mark.parametrize(
    ("prefix", "root"),
    [
        ("/ai", "/ai"),
        ("/ai/", "/ai"),
        ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
        ("//evil.example", ""),
        ("/a//b", ""),
        ("/../up", ""),
        ("/a/..", ""),
        ("https://evil.example", ""),
        ("/a?b", ""),
        ("/a%2f", ""),
        ("/ä", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_a_prefix_is_a_path_of_this_host(client: FlaskClient, prefix: str, root: str) -> None:
    assert where(client, "10.1.0.1", X_Forwarded_Prefix=prefix)["root"] == root
    assert where(client, "10.2.0.1", X_Forwarded_Prefix=prefix)["root"] == ""


def test_a_prefix_is_taken_off_the_path_by_whoever_comes_first(client: FlaskClient) -> None:
    asked: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": "10.1.0.1"}, "headers": {"X-Forwarded-Prefix": "/ai"}}
    assert client.get("/ai/v1/models", **asked).get_json() == client.get("/v1/models", **asked).get_json()
    assert client.get("/ai", **asked).get_json()["name"] == "localai-flask"
    assert client.get("/aix/v1/models", **asked).status_code == 404


def test_links_begin_with_the_prefix(client: FlaskClient) -> None:
    asked: dict[str, Any] = {"environ_base": {"REMOTE_ADDR": "10.1.0.1"}, "headers": {"X-Forwarded-Prefix": "/ai"}}
    assert client.get("/v1//models/", **asked).status_code == 200
    assert client.get("/", **asked).get_json()["links"]["models"] == "/ai/v1/models"
    page = client.get("/swagger/", **asked).text
    assert '"/ai/swagger/openapi.json"' in page and '"/ai/swagger/assets/swagger-ui.css"' in page
    assert client.get("/swagger/openapi.json", **asked).get_json()["servers"] == [{"url": "/ai"}]
    assert client.get("/swagger/openapi.json").get_json()["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("path", ["/where/", "/where//", "///where//", "/ai//where", "/ai/where/"])
def test_slashes_too_many_are_passed_over(client: FlaskClient, path: str) -> None:
    assert where(client, "10.1.0.1", path, X_Forwarded_Prefix="/ai") == {"from": "10.1.0.1", "root": "/ai"}


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy", "10.0.0.300", "127.0.0.1,x"])
def test_what_is_no_network_is_told_at_the_start(text: str) -> None:
    with pytest.raises(ValueError, match=r"LOCALAI_TRUSTED_PROXIES='.+' cannot be used"):
        Settings.from_environment({"LOCALAI_TRUSTED_PROXIES": text})


def test_all_proxies_may_be_trusted() -> None:
    assert Settings.from_environment({"LOCALAI_TRUSTED_PROXIES": "*, 10.0.0.0/8"}).trusted_proxies == (
        "*",
        "10.0.0.0/8",
    )
