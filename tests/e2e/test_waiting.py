"""How a model worker's compute threads wait, by default and where the user has decided."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.server import Server

pytest.importorskip("llama_cpp")

CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one processor threads always sleep")
@pytest.mark.parametrize(("own", "measured"), [({}, 1), ({"GOMP_SPINCOUNT": "500"}, 0)], ids=["default", "own"])
def test_a_worker_measures_how_threads_wait_unless_the_user_has_decided(
    models_path: Path, tmp_path: Path, own: dict[str, str], measured: int
) -> None:
    with Server(models_path, tmp_path, LOCALAI_LOAD_TO_MEMORY="demo", LOCALAI_THREADS="2", **own) as server:
        assert server.post("/v1/chat/completions", CHAT)[0] == 200
        assert server.log().count("while they wait") == measured
