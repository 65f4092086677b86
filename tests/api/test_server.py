"""What surrounds the endpoints: probes, keys, origins, limits, documentation."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask import __version__
from localai_flask.app import OfProcess, create_app
from localai_flask.errors import Unavailable
from localai_flask.settings import Settings
from tests.api.fakes import FakePool, says

HELLO = {"messages": [{"role": "user", "content": "hello"}]}


def test_probes(client: FlaskClient, pool: FakePool) -> None:
    assert client.get("/healthz").get_json() == client.get("/health").get_json() == {"status": "ok"}
    assert client.get("/readyz").get_json() == {"status": "ready"}
    assert client.get("/version").get_json() == {"version": __version__}
    assert client.get("/").get_json()["name"] == "localai-flask"
    for path in ("/", "/healthz", "/health", "/readyz", "/version", "/v1/models"):
        response = client.head(path)
        assert response.status_code == 200 and response.data == b""
    pool.unready = Unavailable("Model tiny is not ready: it is loading", retry_after=0.2)
    response = client.get("/readyz")
    assert response.status_code == 503 and response.headers["Retry-After"] == "1"
    assert "it is loading" in response.get_json()["error"]["message"]
    assert client.get("/healthz").status_code == 200


def test_what_nobody_expected_is_a_500_and_logged_on_one_line(
    client: FlaskClient, pool: FakePool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(pool, "session", fail)
    named = {"X-Request-Id": "mine"}
    answer = client.post("/v1/chat/completions?key=secret", json=HELLO, headers=named)
    assert answer.status_code == 500 and answer.get_json()["error"]["code"] == "internal_error"
    assert "a bug" not in answer.text
    monkeypatch.setattr(client.application.extensions["registry"], "get", fail)
    assert client.get("/v1/models/a%20[b]", headers=named).status_code == 500
    first, second = caplog.records
    assert first.getMessage() == "POST /v1/chat/completions [mine] failed" and first.exc_info
    assert second.getMessage() == "GET /v1/models/a%20%5Bb%5D [mine] failed"


class TestPlaces:
    @pytest.fixture
    def settings(self, models: Path) -> dict[str, Any]:
        return {"models_path": models, "http_threads": 1}

    def test_one_too_many_is_refused_at_once_and_probes_answer(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("a"), says("b"), says("c")]
        stream = client.post("/v1/chat/completions", json={**HELLO, "stream": True})
        refused = client.post("/v1/chat/completions", json=HELLO)
        assert refused.status_code == 503 and refused.headers["Retry-After"] == "1"
        assert refused.get_json()["error"]["code"] == "overloaded"
        assert client.get("/readyz").status_code == client.get("/v1/models").status_code == 200
        stream.close()
        assert client.post("/v1/chat/completions", json=HELLO).status_code == 200
        pool.scripts = [[Unavailable("x")], says("c")]
        client.post("/v1/chat/completions", json={**HELLO, "stream": True})
        assert client.post("/v1/chat/completions", json=HELLO).status_code == 200


def called(client: FlaskClient, host: str, path: str = "/v1/models") -> int:
    return client.get(path, headers={"Host": host}).status_code


class TestHosts:
    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "LOCALHOST:8080",
            "a.localhost",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.0.0.7",
            "localai",
            "",
            "a.lan.",
        ],
    )
    def test_names_that_no_page_of_the_web_has(self, client: FlaskClient, host: str) -> None:
        assert called(client, host) == called(client, socket.gethostname()) == 200

    @pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.com", "localhost.evil.com:8080", "evil.com."])
    def test_others_are_refused(self, client: FlaskClient, host: str) -> None:
        response = client.post("/v1/chat/completions", json=HELLO, headers={"Host": host})
        assert response.status_code == 403 and response.get_json()["error"]["code"] == "host_not_allowed"
        assert "LOCALAI_ALLOWED_HOSTS" in response.get_json()["error"]["message"]
        assert called(client, host, "/healthz") == called(client, host, "/readyz") == 200

    @pytest.mark.parametrize(
        ("settings", "open", "closed"),
        [
            ({"allowed_hosts": ("AI.example.com", ".example.org")}, ["ai.example.com:80", "x.example.org"], ["b.com"]),
            ({"allowed_hosts": ("*",)}, ["b.com"], []),
            ({"api_key": ("k",)}, ["b.com"], []),
            ({"api_key": ("k",), "allowed_hosts": ("a.com",)}, ["a.com", "localhost"], ["b.com", "ba.com"]),
        ],
    )
    def test_names_may_be_given(
        self, models: Path, pool: FakePool, settings: dict[str, Any], open: list[str], closed: list[str]
    ) -> None:
        client = create_app(Settings(models_path=models, **settings), pool=pool).test_client()
        key = {"Authorization": "Bearer k"}
        for hosts, status in ((open, 200), (closed, 403)):
            for host in hosts:
                assert client.get("/v1/models", headers={**key, "Host": host}).status_code == status, host


class TestKeys:
    @pytest.fixture
    def settings(self, models: Path) -> dict[str, Any]:
        return {
            "models_path": models,
            "api_key": ("secret", "s\u00e9same"),
            "cors_allow_origins": ("https://a.example",),
        }

    @pytest.mark.parametrize(
        "headers",
        [
            {"Authorization": "Bearer secret"},
            {"Authorization": "bearer secret"},
            {"Authorization": "secret"},
            {"x-api-key": "secret"},
            {"api-key": "secret"},
            {"Authorization": "Bearer wrong", "X-Api-Key": "secret"},
            {"xi-api-key": "secret"},
            {"x-api-key": "s\u00e9same"},
            {"x-api-key": "s\u00e9same".encode().decode("latin-1")},
        ],
    )
    def test_open_with_a_key(self, client: FlaskClient, headers: dict[str, str]) -> None:
        assert client.get("/v1/models", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "headers", [{}, {"Authorization": "Bearer secre"}, {"Authorization": "Basic secret"}, {"x-api-key": "\u00fc"}]
    )
    def test_closed_without(self, client: FlaskClient, headers: dict[str, str]) -> None:
        for path in ("/v1/models", "/version", "/swaggers", "/nothing", "/", "/healthz/x"):
            response = client.get(path, headers=headers)
            assert response.status_code == 401 and response.headers["WWW-Authenticate"] == "Bearer"
            assert response.get_json()["error"]["code"] == "invalid_api_key"
        for path in ("/healthz", "/healthz/", "/health", "/readyz", "/swagger", "/swagger/", "/swagger/openapi.json"):
            assert client.get(path, headers=headers).status_code == 200
        with client.get("/swagger/assets/swagger-ui.css") as asset:
            assert asset.status_code == 200

    def test_preflight(self, client: FlaskClient) -> None:
        asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        response = client.options("/v1/chat/completions", headers={"Origin": "https://a.example", **asked})
        assert response.status_code == 200
        assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "Request-Id" in response.headers["Access-Control-Expose-Headers"].split(", ")
        assert "POST" in response.headers["Access-Control-Allow-Methods"]
        assert response.headers["Access-Control-Allow-Headers"] == "authorization"
        assert "Access-Control-Allow-Credentials" not in response.headers
        other = client.options("/v1/chat/completions", headers={"Origin": "https://b.example", **asked})
        assert "Access-Control-Allow-Origin" not in other.headers and "Origin" in other.headers["Vary"]


def test_no_other_origins_by_default(client: FlaskClient) -> None:
    response = client.get("/healthz", headers={"Origin": "https://a.example"})
    assert "Access-Control-Allow-Origin" not in response.headers


ORIGIN = "Access-Control-Allow-Origin"


class TestOrigins:
    @pytest.mark.parametrize(
        ("settings", "origin", "allowed"),
        [
            ({}, "https://a.example", None),
            ({"cors": True}, "https://a.example", "*"),
            ({"cors_allow_origins": ("*",)}, "https://a.example", "*"),
            ({"cors": True, "cors_allow_origins": ("https://a.example",)}, "https://a.example", "https://a.example"),
            ({"cors": True, "cors_allow_origins": ("https://a.example",)}, "https://b.example", None),
            ({"cors_allow_origins": ("https://a.example",)}, "https://a.example.evil", None),
            ({"cors_allow_origins": ("https://a.example",)}, "null", None),
        ],
    )
    @pytest.mark.parametrize("keys", [(), ("k",)])
    def test_every_answer_has_the_headers(
        self, models: Path, pool: FakePool, settings: dict[str, Any], origin: str, allowed: str | None, keys: Any
    ) -> None:
        client = create_app(Settings(models_path=models, api_key=keys, **settings), pool=pool).test_client()
        headers = {"Origin": origin, **({"Authorization": "Bearer k"} if keys else {})}
        pool.scripts = [says("a"), says("a"), [*says("a")[:-1], Unavailable("x")]]
        stream = {**HELLO, "stream": True}
        answers = [
            client.post("/v1/chat/completions", json=HELLO, headers=headers),
            client.post("/v1/chat/completions", json=stream, headers=headers),
            client.post("/v1/chat/completions", json=stream, headers=headers),  # one that breaks off
            client.post("/v1/messages", json={}, headers=headers),
            client.get("/v1/models/none", headers=headers),
            client.get("/nothing", headers={"Origin": origin}),  # 401 with keys
            client.put("/v1/models", headers=headers),
            client.post("/v1/chat/completions", data=b"x" * (16 << 20), headers=headers),
            client.options("/v1/messages", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}),
        ]
        assert {answer.headers.get(ORIGIN) for answer in answers} == {allowed}
        assert all(("Origin" in answer.vary) is bool(settings) for answer in answers)
        assert not any("Access-Control-Allow-Credentials" in answer.headers for answer in answers)
        preflight = answers[-1]
        assert preflight.status_code == 200
        assert ("POST" in preflight.headers.get("Access-Control-Allow-Methods", "")) is (allowed is not None)
        if keys or allowed:
            assert answers[1].text.endswith("data: [DONE]\n\n") and "error" in answers[2].text

    CROSS = {"Sec-Fetch-Site": "cross-site", "Origin": "https://a.example"}

    @pytest.mark.parametrize(
        ("headers", "settings", "status"),
        [
            (CROSS, {}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, {}, 403),
            ({"Origin": "http://a.example"}, {}, 403),
            ({"Origin": "http://localhost:3000"}, {}, 403),
            ({"Origin": "null"}, {}, 403),
            (CROSS, {"cors": True}, 200),
            (CROSS, {"cors_allow_origins": ("https://a.example",)}, 200),
            (CROSS, {"cors_allow_origins": ("https://b.example",)}, 403),
            ({**CROSS, "Authorization": "Bearer k"}, {"api_key": ("k",)}, 200),
            ({**CROSS, "Sec-Fetch-Site": "same-origin"}, {}, 200),
            ({**CROSS, "Sec-Fetch-Site": "same-site"}, {}, 200),
            ({"Origin": "http://localhost"}, {}, 200),
            ({"Origin": "http://ai.lan", "X-Forwarded-Host": "ai.lan"}, {}, 200),
            ({"Origin": "app://obsidian.md"}, {}, 200),
            ({}, {}, 200),
        ],
    )
    def test_pages_of_other_sites_change_nothing_without_a_key(
        self, models: Path, pool: FakePool, headers: dict[str, str], settings: dict[str, Any], status: int
    ) -> None:
        client = create_app(Settings(models_path=models, **settings), pool=pool).test_client()
        pool.scripts = [says("a")]
        answer = client.post("/v1/chat/completions", json=HELLO, headers=headers)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert answer.get_json()["error"]["code"] == "origin_not_allowed" and not pool.requests
            assert client.get("/v1/models", headers=headers).status_code == 200


def test_openapi_page(client: FlaskClient) -> None:
    spec = client.get("/swagger/openapi.json").get_json()
    operations = [op["operationId"] for path in spec["paths"].values() for op in path.values() if isinstance(op, dict)]
    assert len(operations) == len(set(operations)) >= len(spec["paths"])
    assert set(spec["paths"]) >= {"/v1/chat/completions", "/v1/completions", "/v1/edits", "/v1/models", "/readyz"}
    chat = spec["paths"]["/v1/chat/completions"]["post"]
    name = chat["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    assert spec["components"]["schemas"][name]["required"] == ["messages"]
    answer = chat["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["properties"]["choices"]["items"]["properties"]["message"]["properties"]["content"]
    # Generated clients have types of these names, wherever the classes live.
    assert {name, "Error", "ResponseFormat", "RerankRequest", "AnthropicMessagesRequest"} <= set(
        spec["components"]["schemas"]
    )
    assert name == "ChatRequest"
    # Null is a type since 3.1; before, `nullable` said so. A document that mixes the two is of no version.
    assert spec["openapi"].startswith("3.1.") and "nullable" not in json.dumps(spec)
    page = client.get("/swagger/").text
    assert "http://" not in page and "https://" not in page
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js"):
        assert f"/swagger/assets/{name}" in page
        with client.get(f"/swagger/assets/{name}") as asset:
            assert asset.status_code == 200
    assert client.get("/swagger/assets/../../app.py").status_code == 404


def test_the_application_imports_no_model_library() -> None:
    look = "import sys, localai_flask.app; print({'torch', 'llama_cpp', 'vllm', 'transformers'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", look], text=True).strip() == "set()"


def test_the_pool_is_made_once_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made = OfProcess(object)
    first = made()
    assert made() is first
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert made() is not first


def test_head_is_answered_as_get_is_on_every_route(app: Flask, client: FlaskClient) -> None:
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ()) and not rule.websocket]
    assert len(rules) > 20
    for rule in rules:
        path = re.sub(r"<[^>]*>", "nothing", rule.rule)
        with client.get(path) as got, client.head(path) as head:
            assert (head.status_code, head.mimetype, head.data) == (got.status_code, got.mimetype, b""), path


def test_idle_connections_outlive_the_pools_of_clients() -> None:
    from localai_flask.server import gunicorn_settings

    assert gunicorn_settings.keepalive > 90, "Go's"


def test_what_all_first_requests_need_is_made_before_they_come() -> None:
    code = (
        "from localai_flask import app; from localai_flask.config.sampling import families;"
        "from localai_flask.chat.prompt.jinja import render; app.warm_up();"
        "assert families._pattern.cache_info().currsize == len(families.FAMILIES);"
        "assert render._environment.cache_info().currsize == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
