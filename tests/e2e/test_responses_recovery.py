"""Background responses outlive whoever dies, and go from one server to another."""

import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import postgres
from tests.support.processes import wait_for
from tests.support.server import Server, Start

LONG: Any = {"say": "x" * 200, "pace_ms": 50}
SILENT_FIRST: Any = {"say": "at last", "prefill_ms": 3000}
RECOVERY_S = 10
"""What a user is promised; on top of it comes how slow the machine is."""
SLOWNESS_S = 20

CLIENTS: list[openai.OpenAI] = []
"""Those of the running test, with streams of which it has read only a part; they are closed behind it."""


@pytest.fixture(autouse=True)
def clients_are_closed(start: Start) -> Iterator[None]:
    """Close the clients before their servers stop."""
    CLIENTS.clear()
    yield
    for client in CLIENTS:
        client.close()


def client_of(server: Server) -> openai.OpenAI:
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=3, timeout=30)
    CLIENTS.append(client)
    return client


def begin(client: openai.OpenAI, how: Any) -> str:
    return client.responses.create(model="echo", input=json.dumps(how), background=True).id


def follow(client: openai.OpenAI, id: str, after: int = -1) -> Any:
    return iter(client.responses.retrieve(id, stream=True, **({"starting_after": after} if after >= 0 else {})))


def await_output(client: openai.OpenAI, id: str) -> int:
    """Wait until a client has seen output; give the number of the event."""
    for event in follow(client, id):
        if event.type == "response.output_text.delta":
            return int(event.sequence_number)
    raise AssertionError("the run has ended without output")


def await_end(client: openai.OpenAI, id: str, within_s: float = RECOVERY_S + SLOWNESS_S) -> Any:
    def ended() -> Any:
        response = client.responses.retrieve(id)
        return response if response.status not in ("queued", "in_progress") else None

    return wait_for(ended, within_s, f"{id} has ended")


def check_events(client: openai.OpenAI, id: str) -> list[Any]:
    """Numbers have no gap, and whatever was added is done."""
    body = client.responses.with_raw_response.retrieve(id, extra_query={"stream": "true"}).text
    told = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line.startswith("data: {")]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    kinds = [event["type"] for event in told]
    for added in ("response.output_item", "response.content_part"):
        assert kinds.count(f"{added}.added") == kinds.count(f"{added}.done")
    return told


def test_the_background_process_is_killed(start: Start) -> None:
    server = start()
    client = client_of(server)
    seen, unseen = begin(client, LONG), begin(client, SILENT_FIRST)
    await_output(client, seen)
    (pid,) = server.background_workers()
    os.kill(pid, signal.SIGKILL)
    failed = await_end(client, seen)
    assert failed.status == "failed" and "ended before it was finished" in failed.error.message
    assert failed.output_text.startswith("x") and failed.output[0].status == "incomplete"
    assert check_events(client, seen)[-1]["response"]["output"] == failed.to_dict()["output"]
    resumed = await_end(client, unseen)
    assert resumed.status == "completed" and resumed.output_text == "at last"
    check_events(client, unseen)


def test_a_background_process_that_hangs_is_replaced(start: Start) -> None:
    server = start()
    client = client_of(server)
    first = begin(client, "hello")
    assert await_end(client, first).status == "completed"
    (pid,) = server.background_workers()
    os.kill(pid, signal.SIGSTOP)
    second = begin(client, "hello again")
    assert await_end(client, second, within_s=15 + SLOWNESS_S).status == "completed"
    assert pid not in server.background_workers()


def test_a_run_that_is_refused_is_not_kept(start: Start, tmp_path: Path) -> None:
    server = start(LOCALAI_HTTP_THREADS="1", LOCALAI_WORKERS="1")
    client = client_of(server).with_options(max_retries=0)
    assert await_end(client, begin(client, "one that there is")).status == "completed"
    stream = client.responses.create(model="echo", input=json.dumps(LONG), stream=True)
    assert next(iter(stream)).type == "response.created"
    with pytest.raises(openai.APIStatusError) as refused:
        client.responses.create(model="echo", input="never", background=True, stream=True)
    assert refused.value.status_code == 503
    (file,) = (tmp_path / "state").rglob("*.db")
    with contextlib.closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT count(*) FROM responses WHERE background").fetchone() == (1,)


def test_background_runs_drain_beside_streams(start: Start) -> None:
    server = start(LOCALAI_GRACEFUL_TIMEOUT="5")
    client = client_of(server)
    run = begin(client, LONG)
    await_output(client, run)
    stream = iter(client.responses.create(model="echo", input=json.dumps(LONG), stream=True))
    assert next(stream).type == "response.created"
    assert server.process is not None
    begun = time.monotonic()
    server.process.terminate()
    with pytest.raises(openai.APIError, match="shutting down"):
        list(stream)
    server.process.wait(30)
    assert time.monotonic() - begun < 9, "the one began to drain when the other had ended"


def test_web_workers_are_killed_and_reloaded(start: Start) -> None:
    server = start()
    client = client_of(server)
    id = begin(client, {"say": "y" * 100, "pace_ms": 100})
    await_output(client, id)
    before = server.web_workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(server.web_workers()) - set(before)) == 2, 30)
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)
    ended = await_end(client, id, 60)
    assert ended.status == "completed" and ended.output_text == "y" * 100
    assert "".join(event.get("delta", "") for event in check_events(client, id)) == "y" * 100


def test_a_model_worker_is_killed(start: Start) -> None:
    server = start()
    client = client_of(server)
    id = begin(client, LONG)
    await_output(client, id)
    (pid,) = server.model_workers()
    os.kill(pid, signal.SIGKILL)
    failed = await_end(client, id)
    assert failed.status == "failed" and failed.error.type == "model_worker_died"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_is_stopped_and_started(start: Start, number: signal.Signals) -> None:
    first = start()
    client = client_of(first)
    seen, unseen = begin(client, {**LONG, "say": "x" * 2000}), begin(client, {**SILENT_FIRST, "prefill_ms": 20_000})
    await_output(client, seen)
    assert first.process is not None
    first.process.send_signal(number)
    first.process.wait(40)
    wait_for(lambda: not first.background_workers(), 10, "the background process is gone")
    second = client_of(start())
    failed = await_end(second, seen)
    assert failed.status == "failed" and failed.output_text.startswith("x")
    check_events(second, seen)
    assert second.responses.retrieve(unseen).status in ("queued", "in_progress")
    assert await_end(second, unseen, 60).output_text == "at last"


def test_what_cannot_be_read_fails_instead_of_staying(start: Start, tmp_path: Path) -> None:
    first = start()
    id = begin(client_of(first), LONG)
    await_output(CLIENTS[0], id)
    assert first.process is not None
    first.process.kill()
    first.process.wait(40)
    wait_for(lambda: not first.background_workers(), 10, "the background process is gone")
    (file,) = (tmp_path / "state").rglob("*.db")
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE responses SET body = ? WHERE id = ?", (b'{"id": 1}', id))
    second = client_of(start())
    failed = await_end(second, id)
    assert failed.status == "failed" and "cannot be read" in failed.error.message
    with pytest.raises(openai.APIError, match="cannot be read"):
        list(follow(second, id))


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres.running() as url:
        yield url


def test_a_server_takes_over_from_another(start: Start, database: str) -> None:
    other = client_of(start(LOCALAI_DATABASE_URL=database))
    dying = start(LOCALAI_DATABASE_URL=database)
    id = begin(client_of(dying), SILENT_FIRST)
    wait_for(lambda: other.responses.retrieve(id).status == "in_progress", 20)
    assert dying.process is not None
    dying.process.kill()
    dying.process.wait(10)
    begun = time.monotonic()
    assert await_end(other, id, 40).output_text == "at last"
    assert time.monotonic() - begun < 40


def test_a_conversation_loses_nothing_when_everything_is_killed(start: Start) -> None:
    first = start()
    client = client_of(first)
    conversation = client.conversations.create().id
    client.responses.create(model="echo", input="one", conversation=conversation)
    run = client.responses.create(
        model="echo", input=json.dumps(SILENT_FIRST), conversation=conversation, background=True
    )
    assert first.process is not None
    first.process.kill()
    first.process.wait(40)
    wait_for(lambda: not first.background_workers(), 10, "the background process is gone")
    second = client_of(start())
    assert [text for _, text in spoken(second, conversation)] == ["one", "one"]
    with pytest.raises(openai.ConflictError):
        second.with_options(max_retries=0).responses.create(model="echo", input="two", conversation=conversation)
    assert await_end(second, run.id, 60).output_text == "at last"
    assert second.responses.create(model="echo", input="two", conversation=conversation).output_text == "two"
    said = [("user", "one"), ("assistant", "one"), ("user", json.dumps(SILENT_FIRST)), ("assistant", "at last")]
    assert spoken(second, conversation) == [*said, ("user", "two"), ("assistant", "two")]


def spoken(client: openai.OpenAI, conversation: str) -> list[tuple[str, str]]:
    items: Any = client.conversations.items.list(conversation, order="asc")
    return [(item.role, item.content[0].text) for item in items]
