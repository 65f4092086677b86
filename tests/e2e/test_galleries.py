"""Models of galleries on the running server: installed while it serves, resumed whatever is killed, and deleted."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ollama
import pytest

from tests.support.processes import wait_for
from tests.support.server import Server
from tests.support.site import Site

LOCALAI = Path(__file__).parents[1] / "data" / "localai_gallery"
DEMO = Path(__file__).parents[2] / "models" / "demo.gguf"
SIZE = 3_000_000
CHUNK, PAUSE_S = 60_000, 0.1
"""How the site sends where a test wants to interrupt it: some five seconds for a file."""


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


def gallery(site: Site) -> str:
    """Put a gallery there whose models share a file, and return the setting."""
    for name in ("one", "two", "shared"):
        site.add(f"/{name}.dat", hashlib.sha256(name.encode()).digest() * (SIZE // 32))
    shared = f"{{uri: '{site.root}/shared.dat', filename: shared/shared.dat}}"
    index = "".join(
        f"- name: {name}\n  overrides: {{backend: echo, mmproj: shared/shared.dat}}\n"
        f"  files: [{{uri: '{site.root}/{name}.dat', filename: weights/{name}.dat}}, {shared}]\n"
        for name in ("one", "two")
    )
    return json.dumps([{"name": "g", "url": site.add("/index.yaml", index)}])


def server_of(site: Site, folder: Path, **environment: str) -> Server:
    models = folder / "models"
    models.mkdir(exist_ok=True)
    private = {"LOCALAI_FETCH_PRIVATE_ADDRESSES": "true", "NO_PROXY": "127.0.0.1", "LOCALAI_GRACEFUL_TIMEOUT": "5"}
    return Server(models, folder, **{"LOCALAI_GALLERIES": gallery(site), **private, **environment})


def apply(server: Server, **body: Any) -> str:
    status, answer = server.post("/models/apply", body)
    assert status == 200, answer
    return str(answer["uuid"])


def job(server: Server, id: str) -> Any:
    with urllib.request.urlopen(f"{server.url}/models/jobs/{id}", timeout=10) as answer:
        return json.load(answer)


def await_bytes(server: Server, id: str, count: int) -> None:
    wait_for(lambda: job(server, id)["current_bytes"] > count, 30, f"{count} bytes have come")


def await_end(server: Server, id: str) -> Any:
    wait_for(lambda: job(server, id)["processed"], 40, "the job has ended")
    return job(server, id)


def ranges(site: Site, path: str) -> list[str | None]:
    return [asked for each, _, asked in site.answers if each == path]


def answers(server: Server, model: str) -> bool:
    hello = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    return server.post("/v1/chat/completions", hello)[0] == 200


def files(folder: Path) -> set[str]:
    models = folder / "models"
    return {str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()} - {".localai-flask-folder"}


def test_a_job_survives_its_process_and_the_server(site: Site, tmp_path: Path) -> None:
    site.behaviour.chunk, site.behaviour.pause_s = CHUNK, PAUSE_S
    with server_of(site, tmp_path) as server:
        id = apply(server, id="one")
        assert apply(server, id="one") == id
        await_bytes(server, id, 500_000)
        [background] = server.background_workers()
        os.kill(background, signal.SIGKILL)
        before = job(server, id)["current_bytes"]
        await_bytes(server, id, before + 300_000)
        assert not answers(server, "one") and "one.yaml" not in files(tmp_path)
    assert "weights/one.dat" not in files(tmp_path), "it stopped in mid-download"
    site.behaviour.pause_s = 0.0
    with server_of(site, tmp_path) as server:
        ended = await_end(server, id)
        assert (ended["message"], ended["files"]) == ("completed", ["weights/one.dat", "shared/shared.dat"])
        first, *later = ranges(site, "/one.dat")
        assert first is None and later and all(each is not None and each != "bytes=0-" for each in later), later
        assert (tmp_path / "models/weights/one.dat").read_bytes() == site.files["/one.dat"]
        assert answers(server, "one")


def test_a_pull_of_ollamas_client_is_watched_given_up_and_resumed(site: Site, tmp_path: Path) -> None:
    site.behaviour.chunk, site.behaviour.pause_s = CHUNK, PAUSE_S
    with server_of(site, tmp_path) as server, ollama.Client(host=server.url, timeout=30) as client:
        seen: list[ollama.ProgressResponse] = []
        watched = client.pull("one", stream=True)
        for progress in watched:
            seen.append(progress)
            if (progress.completed or 0) > 500_000:
                break
        watched.close()  # type: ignore[attr-defined]
        counted = [each.completed or 0 for each in seen]
        assert counted == sorted(counted) and (seen[-1].digest or "").startswith("sha256:")
        [id] = json.load(urllib.request.urlopen(f"{server.url}/models/jobs", timeout=10))
        assert await_end(server, id)["cancelled"] and "one.yaml" not in files(tmp_path)
        site.behaviour.pause_s = 0.0
        assert client.pull("one:latest").status == "success"
        assert any(each is not None for each in ranges(site, "/one.dat")), "it begins where the other one was given up"
        assert client.generate("one", prompt="hello", options={"num_predict": 3}).done
        assert client.delete("one").status == "success" and not files(tmp_path)
        with pytest.raises(ollama.ResponseError, match="could not be fetched"):
            site.files.pop("/two.dat")
            client.pull("two")


def test_cancelled_resumed_and_deleted(site: Site, tmp_path: Path) -> None:
    site.behaviour.chunk, site.behaviour.pause_s = CHUNK, PAUSE_S
    with server_of(site, tmp_path) as server:
        id = apply(server, id="one")
        await_bytes(server, id, 300_000)
        assert server.post(f"/models/jobs/{id}/cancel", {})[1]["success"] is True
        assert await_end(server, id)["message"] == "cancelled" and "one.yaml" not in files(tmp_path)
        site.behaviour.pause_s = 0.0
        for name in ("one", "two"):
            assert await_end(server, apply(server, id=name))["error"] is None
        assert ranges(site, "/one.dat")[-1] is not None, "what was received before was kept"
        assert len(ranges(site, "/shared.dat")) == 1 and answers(server, "one") and answers(server, "two")
        deleted = job(server, server.post("/models/delete/one", {})[1]["uuid"])
        assert deleted["kept_files"] == ["shared/shared.dat"]
        wait_for(lambda: not answers(server, "one"), 10, "each web worker has looked at the folder")
        assert files(tmp_path) == {"two.yaml", "weights/two.dat", "shared/shared.dat", "._gallery_two.yaml"}
        assert answers(server, "two")
        assert server.post("/models/delete/two", {})[0] == 200 and files(tmp_path) == set()


def test_models_of_the_start(site: Site, tmp_path: Path) -> None:
    preload = json.dumps([{"id": "two", "name": "second", "overrides": {"context_size": 77}}])
    for _ in range(2):
        with server_of(site, tmp_path, MODELS="one", LOCALAI_PRELOAD_MODELS=preload) as server:
            wait_for(lambda: answers(server, "one") and answers(server, "second"), 30, "both are there")
    assert len(ranges(site, "/one.dat")) == 1 and "second.yaml" in files(tmp_path)


def test_localais_own_gallery_from_its_address(site: Site, tmp_path: Path) -> None:
    """Its index and documents as they are, but for the addresses, and with our model in the place of the real one."""
    weights = site.add("/smollm2.gguf", DEMO.read_bytes())
    text = (LOCALAI / "index.yaml").read_text()
    text = text.replace("github:mudler/LocalAI/gallery/", f"{site.root}/gallery/").replace("@master", "")
    text = text.replace(
        "huggingface://HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF/smollm2-1.7b-instruct-q4_k_m.gguf", weights
    ).replace("decd2598bc2c8ed08c19adc3c8fdd461ee19ed5708679d1c54ef54a5a30d4f33", sha256_of(DEMO))
    for name in ("chatml", "virtual", "whisper-base"):
        site.add(f"/gallery/{name}.yaml", (LOCALAI / f"{name}.yaml").read_text())
    galleries = json.dumps([{"name": "localai", "url": site.add("/localai.yaml", text)}])
    with server_of(site, tmp_path, LOCALAI_GALLERIES=galleries) as server:
        voice = await_end(server, apply(server, id="localai@whisper-base"))
        assert "needs the engine 'whisper'" in voice["error"]
        missing = await_end(server, apply(server, url=site.root + "/no.gguf"))
        assert "404" in missing["error"] and files(tmp_path) == set()
        ended = await_end(server, apply(server, id="localai@smollm2-1.7b-instruct", name="small"))
        assert ended["error"] is None, ended
        server.await_quiet("small")
        assert answers(server, "small")
    written = (tmp_path / "models/small.yaml").read_text()
    assert "<|im_end|>" in written and "smollm2-1.7b-instruct-q4_k_m.gguf" in written


def sha256_of(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
