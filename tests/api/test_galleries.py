"""LocalAI's endpoints about galleries, jobs and the models folder, and llama-server's about the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.api import current
from localai_flask.api.llama_server import events
from localai_flask.api.localai import folder_routes
from localai_flask.atomic_file import editing
from localai_flask.errors import ModelLoadFailed
from localai_flask.gallery.install import Installed
from localai_flask.gallery.jobs import JobProgress, Jobs, encode_progress
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.store.jobs import Jobs as StoredJobs
from tests.api.fakes import FakePool

GALLERY = """\
- {name: one, description: The first of all., tags: [llm, small], license: mit, overrides: {backend: echo}}
- {name: Two, description: Another., tags: [llm], overrides: {backend: echo}, variants: [{model: one}]}
- {name: tiny, description: Like one that is there., overrides: {backend: echo}}
"""


@pytest.fixture
def settings(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "index.yaml").write_text(GALLERY)
    galleries = [
        {"name": "g", "url": f"file://{folder}/index.yaml"},
        {"name": "gone", "url": f"file://{folder}/no.yaml"},
    ]
    return {**settings, "galleries": json.dumps(galleries), "offline": True}


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture
def stored(app: Flask) -> StoredJobs:
    """The jobs as the background process has them."""
    with app.app_context():
        jobs = Jobs(current.store().database, current.settings())
        jobs.cancel(jobs.submit(InstallRequest(id="x")))
        found = jobs.stored()
        assert found is not None
        return found


def applied(client: FlaskClient, **body: Any) -> str:
    answer = client.post("/models/apply", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["status"] == f"http://localhost/models/jobs/{answer.get_json()['uuid']}"
    return str(answer.get_json()["uuid"])


class TestAvailable:
    def test_models_and_what_is_installed(self, client: FlaskClient) -> None:
        listed = client.get("/models/available").get_json()
        assert [(each["id"], each["installed"]) for each in listed] == [
            ("g@one", False),
            ("g@Two", False),
            ("g@tiny", True),
        ]
        assert listed[0]["gallery"]["name"] == "g" and listed[1]["variants"] == [{"model": "one"}]

    @pytest.mark.parametrize(
        ("query", "names", "total"),
        [
            ("term=one", ["one", "tiny"], 2),
            ("term=THE first", ["one"], 1),
            ("tag=LLM", ["one", "Two"], 2),
            ("gallery=g&page=2&items=2", ["tiny"], 3),
            ("page=9", [], 3),
            ("gallery=other", [], 0),
        ],
    )
    def test_search(self, client: FlaskClient, query: str, names: list[str], total: int) -> None:
        answer = client.get(f"/models/available?{query}")
        assert [each["name"] for each in answer.get_json()] == names
        assert answer.headers["X-Total-Count"] == str(total)

    def test_a_page_that_is_no_number(self, client: FlaskClient) -> None:
        assert client.get("/models/available?page=0").status_code == 400
        assert client.get("/models/available?items=5000").get_json()["error"]["param"] == "items"

    def test_the_state_of_galleries(self, client: FlaskClient) -> None:
        good, gone = client.get("/models/galleries").get_json()
        assert good["entries"] == 3 and good["error"] is None and "does not exist" in gone["error"]


class TestApply:
    def test_two_share_a_job(self, client: FlaskClient) -> None:
        first = applied(client, id="g@one")
        assert applied(client, id="g@one", gallery={"name": "g"}, tags=["x"]) == first != applied(client, id="two")
        listed = client.get("/models/jobs").get_json()
        assert listed[first]["phase"] == "queued" and listed[first]["cancellable"]

    @pytest.mark.parametrize(
        ("body", "status", "said"),
        [
            ({}, 400, "Name a model by `id`"),
            ({"ids": "one"}, 400, "`ids` is unknown here; perhaps `id` is meant"),
            ({"id": "one", "files": [{"ur": "x"}]}, 400, "`files[0].ur` is unknown here; perhaps `uri`"),
            ({"id": "one", "files": [{"uri": "x", "filename": "../x"}]}, 400, "straight down"),
            ({"id": "on"}, 404, "Perhaps one is meant"),
            ({"id": "ftp://x/y.gguf"}, 400, "has the scheme ftp"),
            ({"id": "one", "variant": "three"}, 400, "has no variant 'three'"),
            ({"id": "one", "name": "a/../b"}, 200, ""),
            ({"id": "one", "name": ".."}, 400, "The model name '..'"),
            ({"id": "tiny"}, 400, "not installed from a gallery"),
            ({"url": "ftp://x/y.gguf"}, 400, "has the scheme ftp"),
            ({"overrides": {"backend": "echo"}}, 400, "is empty"),
            ({"config_file": "x"}, 400, "`config_file` must be an object"),
            ({"config_file": "a: ["}, 400, "`config_file` is no YAML"),
            ({"config_file": "? [a]\n: x\n"}, 400, "`config_file` is no YAML"),
            ({"config_file": "true: x\nbackend: echo"}, 400, "the key True is no text"),
            ({"config_file": "name: b\nbackend: echo\nparameters: {logit_bias: {5: 1, x: 2}}\n"}, 200, ""),
            ({"config_file": "name: inline\nbackend: echo\n"}, 200, ""),
        ],
    )
    def test_what_can_be_seen_to_be_wrong_is_refused_at_once(
        self, client: FlaskClient, body: dict[str, Any], status: int, said: str
    ) -> None:
        answer = client.post("/models/apply", json=body)
        assert answer.status_code == status, answer.text
        assert said in answer.text

    def test_an_address_alone(self, client: FlaskClient) -> None:
        body = {"uri": "huggingface://owner/repo", "preferences": {"quantizations": "Q4_K_M,Q8_0", "name": "a"}}
        id = client.post("/models/import-uri", json=body).get_json()["uuid"]
        job = client.get(f"/models/jobs/{id}").get_json()
        assert (job["model"], job["gallery_element_name"]) == ("a", "huggingface://owner/repo:Q4_K_M")
        assert client.post("/models/import-uri", json={"uri": "x", "preferences": {"nam": 1}}).status_code == 400

    def test_a_folder_that_cannot_be_written_to(self, client: FlaskClient, models: Path) -> None:
        (models / ".localai-flask-folder").mkdir()
        answer = client.post("/models/apply", json={"id": "one"})
        assert answer.status_code == 500 and "Nothing can be installed" in answer.text


class TestJobs:
    def test_progress(self, client: FlaskClient, stored: StoredJobs) -> None:
        id = applied(client, id="one")
        stored.claim("me/1")
        told = JobProgress("downloading", "one", "weights/one.gguf", 3 << 20, 12 << 20, 1e6)
        stored.record_progress("me/1", id, encode_progress(told))
        job = client.get(f"/models/jobs/{id}").get_json()
        assert (job["progress"], job["file_name"], job["current_bytes"]) == (25.0, "weights/one.gguf", 3 << 20)
        assert (job["downloaded_size"], job["file_size"], job["phase"]) == ("3.0 MiB", "12.0 MiB", "downloading")
        assert job["remaining_seconds"] == pytest.approx(9.4, abs=0.1) and not job["processed"]
        stored.end("me/1", id, "completed", result=msgspec.json.encode(Installed("one", ("weights/one.gguf",), "Q4")))
        job = client.get(f"/models/jobs/{id}").get_json()
        assert (job["processed"], job["message"], job["error"], job["note"]) == (True, "completed", None, "Q4")

    def test_failure(self, client: FlaskClient, stored: StoredJobs) -> None:
        id = applied(client, id="one")
        stored.claim("me/1")
        stored.postpone("me/1", id, 0.0, "the network is down")
        job = client.get(f"/models/jobs/{id}").get_json()
        assert (job["message"], job["tries"]) == ("waiting to try again: the network is down", 2)
        stored.claim("me/1")
        stored.end("me/1", id, "failed", error="no")
        job = client.get(f"/models/jobs/{id}").get_json()
        assert (job["processed"], job["message"], job["error"]) == (True, "error: no", "no")

    def test_a_job_that_there_is_not_cannot_be_cancelled(self, client: FlaskClient) -> None:
        assert client.post("/models/jobs/none/cancel").status_code == 404

    def test_passwords_of_addresses_are_not_told(self, client: FlaskClient) -> None:
        applied(client, url="https://me:hidden@example.org/x.gguf?token=hidden")
        assert "example.org/x.gguf" in client.get("/models/jobs").text
        assert "hidden" not in client.get("/models/jobs").text

    def test_cancel(self, client: FlaskClient) -> None:
        id = applied(client, id="one")
        assert client.post(f"/models/jobs/{id}/cancel").get_json()["success"] is True
        assert client.post(f"/api/operations/{id}/cancel").get_json()["success"] is False
        assert client.get(f"/models/jobs/{id}").get_json()["cancelled"] is True
        assert client.get("/models/jobs/nope").status_code == 404

    def test_a_server_without_jobs_makes_nothing(self, client: FlaskClient, models: Path) -> None:
        assert client.get("/models/jobs").get_json() == {} and client.get("/models/jobs/x").status_code == 404
        assert [path.name for path in models.iterdir()] == ["tiny.yaml"]


class TestFolder:
    def test_delete(self, client: FlaskClient, pool: FakePool, models: Path) -> None:
        id = client.post("/models/delete/tiny").get_json()["uuid"]
        job = client.get(f"/models/jobs/{id}").get_json()
        assert job["deletion"] and job["processed"] and job["files"] == ["tiny.yaml"]
        assert client.get("/v1/models").get_json()["data"] == [] and pool.unloaded == [("tiny", False)]
        assert client.post("/models/delete/tiny").status_code == 404

    def test_a_worker_that_others_need_stays(self, client: FlaskClient, pool: FakePool, models: Path) -> None:
        (models / "a.gguf").write_bytes(b"GGUF")
        for name in ("x", "y"):
            (models / f"{name}.yaml").write_text(f"name: {name}\nbackend: echo\nparameters: {{model: a.gguf}}\n")
        (models / "nick.yaml").write_text("name: nick\nalias: tiny\n")
        for name in ("x", "nick"):
            assert client.post(f"/models/delete/{name}").status_code == 200
        assert pool.unloaded == [] and (models / "a.gguf").exists()

    def test_edit(self, client: FlaskClient, models: Path) -> None:
        text = "# mine\nname: tiny\nbackend: echo\ncontext_size: 77\n"
        (models / "tiny.yaml").chmod(0o600)
        answer = client.post("/models/edit/tiny", data=text, content_type="application/yaml").get_json()
        assert answer["filename"] == "tiny.yaml" and (models / "tiny.yaml").read_text() == text
        assert (models / "tiny.yaml").stat().st_mode & 0o777 == 0o600
        assert client.get("/v1/models/tiny").get_json()["context_length"] == 77
        assert client.post("/models/edit/tiny", json={"name": "tiny", "backend": "echo"}).status_code == 200
        assert client.get("/v1/models/tiny").get_json()["context_length"] is None
        for body, said in (
            ("name: other\nbackend: echo\n", "leave its `name`"),
            ("name: tiny\nbackend: echo\nparameters: {temperature: hot}\n", "tiny.yaml, line 3"),
            ("a: [", "line 2"),
            ("", "is empty"),
            (b"\xff", "no UTF-8"),
        ):
            refused = client.post("/models/edit/tiny", data=body, content_type="application/yaml")
            assert refused.status_code in (400, 422) and said in refused.text
        assert client.get("/v1/models/tiny").status_code == 200
        assert client.post("/models/edit/nope", data="name: nope\n").status_code == 404

    def test_yaml_is_read_and_checked(self, client: FlaskClient, models: Path) -> None:
        text = "# mine\nname: tiny\nbackend: echo\n"
        (models / "tiny.yaml").write_text(text)
        (models / "bare.gguf").write_bytes(b"GGUF")
        told = client.get("/api/models/edit/tiny").get_json()
        assert told == {"name": "tiny", "filename": "tiny.yaml", "config": text}
        bare = client.get("/api/models/edit/bare.gguf").get_json()
        assert bare["filename"] is None and bare["config"] == "name: bare.gguf\nparameters:\n  model: bare.gguf\n"
        assert client.get("/api/models/edit/nope").status_code == 404
        for body, line, is_fault in (
            ("name: tiny\nbackend: echo\ncontxt_size: 4\n", 3, False),
            ("name: tiny\nbackend: echo\ncontext_size: x\n", 3, True),
            ("a: [", 2, True),
        ):
            [found] = client.post("/api/models/check/tiny", data=body).get_json()["findings"]
            assert (found["line"], found["is_fault"]) == (line, is_fault), found
        assert client.post("/api/models/check/tiny", data=text).get_json() == {"findings": []}
        assert (models / "tiny.yaml").read_text() == text

    def test_what_is_in_the_folder_is_listed_usable_or_not(self, client: FlaskClient, models: Path) -> None:
        (models / "nick.yaml").write_text("name: nick\nalias: tiny\n")
        (models / "bad.yaml").write_text("name: bad\nparameters: {temperature: hot}\n")
        (models / "lost.yaml").write_text("name: lost\nbackend: llama-cpp\nparameters: {model: lost.gguf}\n")
        (models / "page.gguf").write_text("<html>Not found</html>")
        found = {each["name"]: each for each in client.get("/api/models/installed").get_json()}
        assert list(found) == ["bad", "lost", "nick", "page.gguf", "tiny"]
        assert found["tiny"]["memory_expected"] > 0 and found["tiny"]["problem"] is found["tiny"]["fault"] is None
        assert "lost.gguf does not exist" in found["lost"]["fault"] and found["lost"]["problem"] is None
        assert "looks like a web page" in found["page.gguf"]["fault"]
        assert found["nick"]["engine_name"] == "tiny" and found["nick"]["backend"] == "echo"
        assert "line 2" in found["bad"]["problem"]

    def test_edit_and_delete_a_model_with_variants(self, client: FlaskClient, models: Path) -> None:
        text = "name: tiny\nbackend: echo\nvariants: {cold: {parameters: {temperature: 0}}}\n"
        for _ in range(2):
            assert client.post("/models/edit/tiny", data=text, content_type="application/yaml").status_code == 200
        assert client.get("/v1/models/tiny:cold").status_code == 200
        assert client.post("/models/delete/tiny:cold").status_code == 400
        assert client.post("/models/delete/tiny").status_code == 200
        assert client.get("/v1/models/tiny:cold").status_code == 404 and not (models / "tiny.yaml").exists()

    def test_import(self, client: FlaskClient, models: Path) -> None:
        assert client.post("/models/import", data="name: new\nbackend: echo\n").status_code == 200
        assert (models / "new.yaml").read_text() == "name: new\nbackend: echo\n"
        assert (models / "new.yaml").stat().st_mode & 0o777 == 0o644
        for body in ("name: new\nbackend: echo\n", "backend: echo\n", "name: ../x\nbackend: echo\n", "- {}\n- {}\n"):
            assert client.post("/models/import", data=body).status_code in (400, 422)
        assert {path.name for path in models.iterdir()} == {"tiny.yaml", "new.yaml"}

    @pytest.mark.parametrize(("path", "status"), [("/models/import", 400), ("/models/edit/new", 404)])
    def test_what_others_do_meanwhile_is_seen(
        self, client: FlaskClient, models: Path, monkeypatch: pytest.MonkeyPatch, path: str, status: int
    ) -> None:
        file, others, ours = models / "new.yaml", "name: new\nbackend: echo\n", "name: new\nbackend: echo\nseed: 1\n"
        if status == 404:
            file.write_text(others)

        @contextmanager
        def edit_after_another(folder: Path) -> Iterator[None]:
            file.unlink() if file.exists() else file.write_text(others)
            with editing(folder):
                yield

        monkeypatch.setattr(folder_routes, "editing", edit_after_another)
        assert client.post(path, data=ours, content_type="application/yaml").status_code == status
        assert not file.exists() if status == 404 else file.read_text() == others

    def test_reload(self, client: FlaskClient, models: Path) -> None:
        (models / "late.yaml").write_text("name: late\nbackend: echo\n")
        assert client.post("/models/reload").get_json() == {"success": True, "message": "2 models"}


class TestLlamaServer:
    """As Open WebUI asks it, with the provider set to llama.cpp and `/v1` taken off the address."""

    def test_the_list(self, client: FlaskClient, pool: FakePool) -> None:
        for state, status in (
            ("cold", {"value": "unloaded"}),
            ("ready", {"value": "loaded"}),
            ("failed", {"value": "unloaded", "failed": True, "exit_code": 1}),
        ):
            pool.state = {"tiny": state}
            [model] = client.get("/models?reload=1").get_json()["data"]
            assert model["status"] == status and model["architecture"]["input_modalities"] == ["text"]
        pool.state, pool.progress = {"tiny": "loading"}, {"tiny": 0.5}
        [model] = client.get("/v1/models").get_json()["data"]
        assert model["status"]["value"] == "loading" and model["status"]["progress"]["value"] == 0.5

    def test_load_and_unload(self, client: FlaskClient, pool: FakePool) -> None:
        assert client.post("/models/load", json={"model": "tiny"}).get_json() == {"success": True}
        assert [config.name for config in pool.configs] == ["tiny"]
        assert client.post("/models/load", json={"model": "nope"}).status_code == 404
        pool.loading = [ModelLoadFailed("cut off")]
        assert "cut off" in client.post("/models/load", json={"model": "tiny"}).text
        pool.loading = []
        refused = client.post("/models/unload", json={"model": "tiny"})
        assert refused.status_code == 400 and "is not loaded" in refused.text and pool.unloaded == [("tiny", False)]
        assert client.post("/models/load", json={"name": "tiny"}).status_code == 400

    def test_download_and_delete(self, client: FlaskClient, models: Path) -> None:
        for model in ("one", "owner/repo-GGUF:Q4_K_M"):
            assert client.post("/models", json={"model": model}).get_json() == {"success": True}
        assert len(client.get("/models/jobs").get_json()) == 2
        coming = {each["id"]: each["status"]["value"] for each in client.get("/models").get_json()["data"]}
        assert coming == {"one": "downloading", "owner/repo-GGUF:Q4_K_M": "downloading", "tiny": "unloaded"}
        assert [each["id"] for each in client.get("/v1/models").get_json()["data"]] == ["tiny"]
        assert client.post("/models/unload", json={"model": "one"}).status_code == 200, "it gives the download up"
        assert client.delete("/models?model=owner/repo-GGUF:Q4_K_M").status_code == 200
        assert all(job["cancelled"] for job in client.get("/models/jobs").get_json().values())
        assert "is there already" in client.post("/models", json={"model": "tiny"}).text
        assert client.post("/models", json={"model": "two words"}).status_code == 404
        assert client.delete("/models?model=tiny").get_json() == {"success": True}
        (models / "owner__repo-GGUF:Q4_K_M.yaml").write_text("name: owner__repo-GGUF:Q4_K_M\nbackend: echo\n")
        assert client.delete("/models?model=owner/repo-GGUF:Q4_K_M").status_code == 200
        assert client.delete("/models?model=tiny").status_code == 404 and client.delete("/models").status_code == 400

    def test_events(
        self,
        client: FlaskClient,
        pool: FakePool,
        stored: StoredJobs,
        models: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(events, "LOOK_S", 0.01)
        stream = client.get("/models/sse", buffered=False)
        frames = iter(stream.response)
        begun, _, known = next(frames).partition(b"\n\n")
        assert begun == b": watching" and json.loads(known[6:]) == {
            "model": "tiny",
            "event": "model_status",
            "data": {"status": "unloaded", "exit_code": 0},
        }

        def told() -> list[dict[str, Any]]:
            return [json.loads(line[6:]) for line in next(frames).decode().splitlines() if line]

        pool.state, pool.progress = {"tiny": "loading"}, {"tiny": 0.25}
        [event] = told()
        assert (event["model"], event["data"]["status"]) == ("tiny", "loading")
        assert event["data"]["progress"]["value"] == 0.25
        pool.state = {"tiny": "ready"}
        assert told() == [{"model": "tiny", "event": "model_status", "data": {"status": "loaded"}}]
        pool.state = {"tiny": "cold"}
        assert told()[0]["data"] == {"status": "unloaded", "exit_code": 0}
        pool.state = {"tiny": "failed"}
        assert told()[0]["data"] == {"status": "unloaded", "exit_code": 1, "failed": True}
        id = applied(client, id="one")
        assert told() == [{"model": "one", "event": "model_status", "data": {"status": "downloading"}}]
        stored.claim("me/1")
        stored.record_progress("me/1", id, encode_progress(JobProgress("downloading", "one", "f.gguf", 1, 4)))
        [*_, event] = told()
        assert (event["model"], event["event"]) == ("one", "download_progress")
        assert event["data"] == {"progress": {"f.gguf": {"done": 1, "total": 4}}}
        (models / "one.yaml").write_text("name: one\nbackend: echo\n")
        client.post("/models/reload")
        assert told() == [{"model": "*", "event": "models_reload"}]
        stored.end("me/1", id, "completed", result=msgspec.json.encode(Installed("one")))
        assert told() == [{"model": "one", "event": "download_finished", "data": {"name": "one"}}]
        client.delete("/models?model=one")
        assert told() == [{"model": "one", "event": "model_remove"}]
        failing = applied(client, id="two")
        told()
        stored.claim("me/1")
        stored.end("me/1", failing, "failed", error="no network")
        event = next(event for event in told() if event["event"] != "model_status")
        assert event == {"model": "two", "event": "download_failed", "data": {"error": "no network"}}
        stream.close()
