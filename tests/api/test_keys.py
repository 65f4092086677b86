"""What named keys may do: which models there are for them, who is an administrator, and whose stored responses are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from localai_flask.api.door import auth
from localai_flask.api.llama_server import events
from localai_flask.api.request.parsing import Blueprint
from localai_flask.atomic_file import replace_text
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.key import ANYONE, Key
from localai_flask.keys.keyring import digest
from tests.api.fakes import FakePool, says

ROOT, ADMIN, SMALL = ({"Authorization": f"Bearer {name}'s"} for name in ("root", "admin", "small"))
HELLO = [{"role": "user", "content": "hello"}]
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"


def wrote(file: Path, **entries: Entry) -> None:
    replace_text(file, key_file.render(entries))


@pytest.fixture
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.yaml"


@pytest.fixture
def settings(models: Path, file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    for name in ("team-b", "hidden"):
        (models / f"{name}.yaml").write_text(f"name: {name}\nbackend: echo\n")
    (models / "nick.gguf").write_bytes(b"GGUF")
    (models / "small.yaml").write_text("name: small\nalias: hidden\n")
    (models / "broken.yaml").write_text("name: broken\nbackend: echo\ncontext_size: x\n")
    (models / "off.yaml").write_text("name: off\nbackend: echo\ndisabled: true\n")
    wrote(
        file,
        admin=Entry(digest("admin's"), admin=True),
        small=Entry(digest("small's"), models=("team-*", "small")),
    )
    return {**settings, "api_key": ("root's",), "api_keys_file": str(file)}


def ask(client: FlaskClient, model: str | None, key: dict[str, str], path: str = CHAT) -> Any:
    body = {"messages": HELLO, "input": "hello", "max_tokens": 9, **({"model": model} if model else {})}
    if path == RESPONSES:
        body = {"input": "hello", **({"model": model} if model else {})}
    return client.post(path, json=body, headers=key)


def listed(client: FlaskClient, key: dict[str, str]) -> list[str]:
    return [model["id"] for model in client.get("/v1/models", headers=key).get_json()["data"]]


class TestModels:
    def test_only_those_that_a_key_may_use_are_there(self, client: FlaskClient, pool: FakePool) -> None:
        assert listed(client, SMALL) == ["small", "team-b"]
        assert (
            listed(client, ROOT) == listed(client, ADMIN) == ["hidden", "nick.gguf", "off", "small", "team-b", "tiny"]
        )
        assert client.get("/v1/models/team-b", headers=SMALL).status_code == 200
        assert client.get("/v1/models/small", headers=SMALL).get_json()["id"] == "small"
        pool.scripts = [says("a"), says("b"), says("c")]
        for model in ("team-b", "team-b:latest", "small"):
            assert ask(client, model, SMALL).status_code == 200, model

    @pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES, "/v1/embeddings", "/v1/rerank"])
    @pytest.mark.parametrize("model", ["absent", "hidden", "tiny", "nick", "nick.gguf", "broken", "off"])
    def test_others_are_as_if_there_were_none(self, client: FlaskClient, path: str, model: str) -> None:
        fields = {MESSAGES: {"max_tokens": 9}, RESPONSES: {"input": "a"}, "/v1/embeddings": {"input": "a"}}
        fields["/v1/rerank"] = {"query": "a", "documents": ["a"]}
        body = {"model": model, **({"messages": HELLO} if path in (CHAT, MESSAGES) else {}), **fields.get(path, {})}
        answer = client.post(path, json=body, headers=SMALL)
        error = answer.get_json()["error"]
        assert answer.status_code == 404, answer.text
        assert error["type"] == ("not_found_error" if path == MESSAGES else "invalid_request_error")
        said, _, names = error["message"].partition(" GET /v1/models lists the models: ")
        assert said == f"There is no model {model!r}." and set(names.strip(".").split(", ")) == {"small", "team-b"}
        assert client.get(f"/v1/models/{model}", headers=SMALL).status_code == 404

    def test_a_pattern_matches_no_nickname_of_another_model(self, client: FlaskClient, file: Path) -> None:
        wrote(file, small=Entry(digest("small's"), models=("nick",)))
        assert ask(client, "nick", SMALL).status_code == 404 and listed(client, SMALL) == []

    def test_a_request_without_a_model_gets_one_that_its_key_may_use(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("a")]
        assert ask(client, None, SMALL).get_json()["model"] == "team-b"

    def test_nor_the_default_one_if_that_is_not_the_keys(self, app: Flask, pool: FakePool) -> None:
        object.__setattr__(app.extensions["registry"].settings, "default_model", "tiny")
        pool.scripts = [says("a"), says("b")]
        client = app.test_client()
        assert ask(client, None, SMALL).get_json()["model"] == "team-b"
        assert ask(client, None, ADMIN).get_json()["model"] == "tiny"

    def test_a_key_without_any_model_has_none(self, client: FlaskClient, file: Path) -> None:
        wrote(file, small=Entry(digest("small's"), models=()))
        assert ask(client, None, SMALL).status_code == ask(client, "tiny", SMALL).status_code == 404


def name_key() -> dict[str, str]:
    return {"key": auth.key().name}


def free() -> dict[str, str]:
    return name_key()


class TestAdministrators:
    @pytest.fixture
    def client(self, app: Flask) -> Iterator[FlaskClient]:
        bp = Blueprint("admin", __name__, description="For administrators")
        bp.post("/above")(auth.admin_only(bp.response(200)(name_key)))
        bp.post("/below")(bp.response(200)(auth.admin_only(name_key)))
        bp.post("/free")(free)
        app.register_blueprint(bp)
        return app.test_client()

    def test_others_are_refused_before_anything_is_read(self, client: FlaskClient) -> None:
        for path in ("/above", "/below"):
            refused = client.post(path, data=b"{", headers=SMALL)
            assert refused.status_code == 403 and refused.get_json()["error"]["code"] == "admin_required"
            assert client.post(path).status_code == 401
            assert client.post(path, headers=ADMIN).get_json() == {"key": "admin"}
            assert client.post(path, headers=ROOT).get_json() == {"key": "#1"}
        assert client.post("/free", headers=SMALL).get_json() == {"key": "small"}
        assert client.options("/above").status_code == 200, "a preflight"

    def test_everybody_is_one_on_a_server_without_keys(self, app: Flask, client: FlaskClient) -> None:
        app.extensions["keys"].required = False
        assert client.post("/above").status_code == 200


ADMINISTRATIVE = re.compile(
    r"\S+ (/v1)?/(backend/|backends\b|system$|requests\b|logs\b|api/(?!chat|generate|embed|tags|show|ps|version)"
    r"|models/(apply|delete|reload|import|edit|toggle|available|jobs|galleries|unload))"
    r"|(POST|DELETE) (/v1)?/models$|POST (/v1)?/(lora-adapters|(un)?load_lora_adapter)$"
)
"""The methods and paths that change or show what is not the caller's own; the exceptions under /api are Ollama's."""


def test_what_is_not_the_callers_own_is_the_administrators(app: Flask) -> None:
    client = app.test_client()
    rules = list(app.url_map.iter_rules())
    marked = [rule for rule in rules if is_marked(app, rule.endpoint)]
    unmarked = [name for rule in rules if rule not in marked for name in operations(rule)]
    assert len(marked) >= 10 and [n for rule in marked for n in operations(rule) if not ADMINISTRATIVE.match(n)] == []
    assert [name for name in unmarked if ADMINISTRATIVE.match(name)] == []
    for rule in marked:
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert client.open(path, method=method).status_code == 401
            assert client.open(path, method=method, headers=SMALL).status_code == 403
            assert client.open(path, method=method, headers=ADMIN).status_code not in (401, 403)


def operations(rule: Rule) -> list[str]:
    return [f"{method} {rule.rule}" for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})]


def is_marked(app: Flask, endpoint: str) -> bool:
    return getattr(app.view_functions[endpoint], auth.ADMIN_ONLY, False)


def test_a_key_has_its_models_loaded_and_watches_them(
    client: FlaskClient, pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_S", 0.01)
    loads = {name: client.post("/models/load", json={"model": name}, headers=SMALL) for name in ("small", "hidden")}
    assert [answer.status_code for answer in loads.values()] == [200, 404]
    assert [config.name for config in pool.configs] == ["hidden"], "of which `small` is an alias"
    stream = client.get("/models/sse", headers=SMALL, buffered=False)
    frames = iter(stream.response)
    known = next(frames)
    assert b'"small"' in known and b'"team-b"' in known and b'"tiny"' not in known
    pool.state = {"hidden": "ready", "tiny": "ready"}
    (told,) = [json.loads(line[6:]) for line in next(frames).decode().splitlines() if line]
    assert told == {"model": "small", "event": "model_status", "data": {"status": "loaded"}}
    stream.close()


def test_a_key_of_some_models_does_not_choose_among_all_adapters(client: FlaskClient) -> None:
    assert client.get("/lora-adapters?model=small", headers=SMALL).status_code == 403
    assert client.get("/lora-adapters?model=hidden", headers=ADMIN).get_json() == []
    body = {"model": "team-b", "max_tokens": 9, "lora": [{"id": 0, "scale": 1}]}
    for path, more in ((CHAT, {"messages": HELLO}), (MESSAGES, {"messages": HELLO}), (RESPONSES, {"input": "hello"})):
        assert client.post(path, json=body | more, headers=SMALL).status_code == 403
        refused = client.post(path, json=body | more, headers=ADMIN)
        assert refused.status_code == 400 and "`lora` names the adapter 0" in refused.text


def test_a_key_of_some_models_reads_no_metrics_of_all(client: FlaskClient, file: Path) -> None:
    assert client.get("/metrics", headers=SMALL).status_code == 403
    assert client.get("/metrics", headers=ADMIN).status_code == client.get("/metrics", headers=ROOT).status_code == 200
    wrote(file, small=Entry(digest("small's")))
    assert client.get("/metrics", headers=SMALL).status_code == 200


def test_the_record_of_the_key_is_at_hand(app: Flask, client: FlaskClient, file: Path) -> None:
    wrote(file, small=Entry(digest("small's"), models=("team-*", "small"), max_requests=2, priority=-3))
    seen = []
    app.after_request(lambda response: seen.append(auth.key()) or response)
    client.get("/v1/models", headers=SMALL)
    client.get("/healthz")
    assert seen == [Key("small", ("team-*", "small"), False, 2, -3, "key:small"), ANYONE]
    assert auth.key() is ANYONE and auth.keeper() is None


class TestStored:
    def store(self, client: FlaskClient, pool: FakePool, key: dict[str, str]) -> str:
        pool.scripts.append(says("a"))
        answer = ask(client, "team-b", key, RESPONSES)
        assert answer.status_code == 200, answer.text
        return str(answer.get_json()["id"])

    def test_what_is_stored_stays_its_names_own(self, client: FlaskClient, pool: FakePool, file: Path) -> None:
        id = self.store(client, pool, SMALL)
        assert client.get(f"{RESPONSES}/{id}", headers=SMALL).status_code == 200
        for other in (ADMIN, ROOT):
            assert client.get(f"{RESPONSES}/{id}", headers=other).status_code == 404
        wrote(file, small=Entry(digest("renewed")), other=Entry(digest("small's")))
        assert client.get(f"{RESPONSES}/{id}", headers={"x-api-key": "renewed"}).status_code == 200
        assert client.get(f"{RESPONSES}/{id}", headers=SMALL).status_code == 404

    def test_a_key_of_the_environment_owns_by_its_text(self, client: FlaskClient, pool: FakePool) -> None:
        id = self.store(client, pool, ROOT)
        assert client.get(f"{RESPONSES}/{id}", headers=ROOT).status_code == 200
        assert client.get(f"{RESPONSES}/{id}", headers=ADMIN).status_code == 404
