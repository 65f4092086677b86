"""Whatever strangers send, nothing is answered 500, and memory stays as it is."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from localai_flask.app import create_app
from localai_flask.settings import Settings
from tests.api.test_schemathesis import TalkativePool
from tests.support.mutated_requests import Request, make_requests
from tests.support.processes import resident_bytes

COUNT = int(os.environ.get("MUTATED_REQUESTS", "10000"))
"""Eight seconds of the processor; a longer run takes other seeds as well."""
SEED = int(os.environ.get("MUTATED_REQUESTS_SEED", "1"))
WARM = COUNT // 3
"""After this many everything has been imported and compiled."""
MORE_BYTES = 32e6
FINE = {200, 301, 308, 400, 401, 403, 404, 405, 413, 415, 426}


class Pool(TalkativePool):
    def __init__(self) -> None:
        super().__init__()
        able = frozenset({"generate", "constrain", "embed", "score", "tokenize", "infill", "end_thinking"})
        self.info = msgspec.structs.replace(self.info, capabilities=able)


@pytest.mark.timeout(1200)
def test_no_request_is_answered_500_and_memory_is_flat(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("name: tiny\nbackend: echo\n")
    pool = Pool()
    app = create_app(Settings(models_path=tmp_path, database_url=f"sqlite:///{tmp_path}/responses.db"), pool=pool)
    client, seen, before = app.test_client(), Counter[int](), 0
    for number, request in enumerate(make_requests(SEED, COUNT)):
        if number == WARM:
            before = resident_bytes(os.getpid())
        with client.open(request.path, method=request.method, data=request.body, headers=request.headers) as answer:
            data = answer.get_data()
        seen[answer.status_code] += 1
        assert answer.status_code in FINE, (number, request, data)
        check_shape(request, answer.status_code, answer.mimetype, data)
        pool.requests.clear()
        pool.questions.clear()
        pool.configs.clear()
    assert pool.open == 0, "a generation was not closed"
    assert seen[200] > COUNT / 10 and seen[400] > COUNT / 10, seen
    assert resident_bytes(os.getpid()) - before < MORE_BYTES


def check_shape(request: Request, status: int, mimetype: str, data: bytes) -> None:
    """Errors have the shape of their family, and a stream ends as one."""
    if mimetype == "text/event-stream":
        assert data.endswith(b"\n\n") and b"server made a mistake" not in data, (request, data)
    elif mimetype == "application/x-ndjson":
        assert all(isinstance(json.loads(line), dict) for line in data.splitlines()), (request, data)
    elif status >= 400 and request.method != "HEAD":
        error = json.loads(data)["error"]
        if isinstance(error, str):
            assert error and request.path.startswith("/api/"), (request, data)
            return
        assert error["message"] and error["type"], (request, data)
        assert ("code" in error) is not request.path.startswith("/v1/messages")
