"""Prompts outlive the processes that computed them: a crash of everything, an unload, and for each key its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.support.processes import wait_for
from tests.support.server import Server

STORY = "Remember that my name is Ada. " * 30
KEYS = {"one": {"Authorization": "Bearer key-one"}, "two": {"Authorization": "Bearer key-two"}}


@pytest.fixture
def start(models_path: Path, tmp_path: Path):
    """Return what makes a server that finds what the ones before have kept."""

    def make(number: int) -> Server:
        (tmp_path / str(number)).mkdir()
        return Server(
            models_path,
            tmp_path / str(number),
            LOCALAI_LOAD_TO_MEMORY="demo",
            LOCALAI_API_KEY="key-one,key-two",
            LOCALAI_PROMPT_CACHE_SIZE="1GB",
            LOCALAI_PROMPT_CACHE_PATH=str(tmp_path / "kept"),
        )

    return make


def chat(server: Server, messages: list[dict[str, str]], key: str = "one") -> tuple[str, int, int]:
    """Return an answer, and how many tokens its prompt has and how many of them had been computed before."""
    body = {"model": "demo", "messages": messages, "max_tokens": 8, "ignore_eos": True}
    status, reply = server.post("/v1/chat/completions", body, headers=KEYS[key])
    assert status == 200, reply
    usage = reply["usage"]
    text = reply["choices"][0]["message"]["content"]
    return text, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.skipif(
    shutil.disk_usage(tempfile.gettempdir()).free < 6 << 30, reason="on a disk that is almost full nothing is kept"
)
def test_crash_and_unload(start, tmp_path):
    """Each key's conversations go on where they ended, though everything was killed, and after an unload."""
    talk, other = [{"role": "user", "content": STORY + "Hello!"}], [{"role": "user", "content": "Hello! " + STORY}]
    server = start(1)
    with server.launched():  # at its end all processes are killed
        wait_for(lambda: server.status("/readyz") == 200, 30, "the server is ready")
        chat(server, other)
        answer, size, cached = chat(server, talk)
        assert size > 200 and cached < 0.2 * size
        wait_for(lambda: len(list(tmp_path.glob("kept/*/*.kv"))) == 2, 10, "the idle prompts are on disk")
    cut_off = set(tmp_path.glob("kept/*/.*.part"))  # what it was writing when it was killed, to be swept later
    talk += [{"role": "assistant", "content": answer}, {"role": "user", "content": "What is my name?"}]
    with start(2) as server:
        assert chat(server, other, "two")[2] == 0
        _, whole, cached = chat(server, talk)
        assert 0.8 * size < cached < whole
        assert server.post("/backend/shutdown", {"model": "demo"}, headers=KEYS["one"])[0] == 200
        assert chat(server, talk)[2] > 0.8 * size
    assert set(tmp_path.glob("kept/*/.*.part")) <= cut_off
