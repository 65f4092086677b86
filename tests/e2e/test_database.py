"""A database that is not there yet, or no longer: what does not need it is served, and probes tell the truth."""

from __future__ import annotations

from pathlib import Path

from tests.support import postgres
from tests.support.processes import wait_for
from tests.support.server import Server

CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}
RESPONSE = {"model": "echo", "input": "hello"}


def test_a_database_that_starts_after_the_server_and_leaves(models_path: Path, tmp_path: Path) -> None:
    postgres.binaries()  # skips before a server runs
    folder = tmp_path / "socket"
    server = Server(
        models_path, tmp_path, LOCALAI_DATABASE_URL=f"postgresql://postgres:hunter2@/postgres?host={folder}"
    )
    server.awaited = "/healthz"
    with server:
        assert server.status("/readyz") == 503
        status, answer = server.post("/v1/responses", RESPONSE)
        assert status == 503 and "The database of responses does not answer" in answer["error"]["message"]
        assert str(folder) not in answer["error"]["message"]
        assert server.post("/v1/responses", {**RESPONSE, "store": False})[0] == 200
        assert server.post("/v1/chat/completions", CHAT)[0] == 200
        (background,) = server.background_workers()
        wait_for(lambda: "the database of responses does not answer" in server.log(), 10, "the cause in the log")
        with postgres.running() as url:
            folder.symlink_to(url.partition("host=")[2])
            wait_for(lambda: server.status("/readyz") == 200, 10, "the database noticed")
            assert server.background_workers() == [background], "the background process was started again"
            assert server.post("/v1/responses", RESPONSE)[0] == 200
            queued = server.post("/v1/responses", {**RESPONSE, "background": True})[1]
            wait_for(lambda: server.status(f"/v1/responses/{queued['id']}") == 200, 5)
        wait_for(lambda: server.status("/readyz") == 503, 10, "its end noticed")
        assert server.post("/v1/chat/completions", CHAT)[0] == 200
    assert "hunter2" not in server.log()
    assert "ended; starting another" not in server.log().partition("answers")[0]
    assert "Traceback" not in server.log()
