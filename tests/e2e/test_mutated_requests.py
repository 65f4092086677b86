"""Whatever strangers send to a running server, none of its processes dies or grows, and nothing is answered 500."""

from __future__ import annotations

import http.client
import os
from collections import Counter
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.mutated_requests import make_requests
from tests.support.processes import resident_bytes
from tests.support.server import Server

COUNT = int(os.environ.get("MUTATED_LIVE_REQUESTS", "400"))
SEED = int(os.environ.get("MUTATED_REQUESTS_SEED", "1"))
MORE_BYTES = 64e6
FINE = {200, 301, 308, 400, 401, 403, 404, 405, 413, 415, 426}


@pytest.mark.timeout(1200)
def test_processes_live_and_stay_small(models_path: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "demo.gguf").symlink_to(models_path / "demo.gguf")
    (models / "tiny.yaml").write_text("name: tiny\nembeddings: true\nparameters: {model: demo.gguf}\n")
    with Server(models, tmp_path, LOCALAI_LOAD_TO_MEMORY="tiny") as server:
        seen, processes, before = Counter[int](), [], 0
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for number, request in enumerate(make_requests(SEED, COUNT)):
            if number == COUNT // 2:
                processes = [*server.web_workers(), *server.model_workers()]
                before = sum(map(resident_bytes, processes))
            path = quote(request.path, safe="/?&=%:")
            client.request(request.method, path, request.body or None, request.headers)
            answer = client.getresponse()
            data = answer.read()
            seen[answer.status] += 1
            assert answer.status in FINE, (number, request, data, server.log()[-3000:])
            assert b"server made a mistake" not in data and b"model_worker_died" not in data, (number, request, data)
        client.close()
        assert [*server.web_workers(), *server.model_workers()] == processes
        assert sum(map(resident_bytes, processes)) - before < MORE_BYTES
        assert seen[200] > COUNT / 20, seen
