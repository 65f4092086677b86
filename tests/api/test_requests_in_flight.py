"""Requests in flight: what an administrator sees of them, and how one that is cancelled ends."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.metrics.in_flight import InFlight, Question, Told, ask_all
from localai_flask.metrics.request_record import CLIENT_LEFT, RequestRecord
from tests.api.fakes import FakePool, says
from tests.api.test_metrics import BODIES, CHAT, FAMILY, MESSAGES, RESPONSES

SHAPES = {
    CHAT: lambda told: told["error"]["code"] == "request_cancelled",
    MESSAGES: lambda told: told["error"]["type"] == "permission_error" and told["request_id"] == "mine",
    RESPONSES: lambda told: "request_cancelled" in told.get("response", told)["error"].values(),
}


def listed(client: FlaskClient) -> list[dict[str, Any]]:
    return client.get("/requests").get_json()["data"]


@pytest.mark.parametrize("path", FAMILY)
def test_a_stream_is_listed_and_its_client_told_of_its_end(client: FlaskClient, pool: FakePool, path: str) -> None:
    pool.scripts = [says("a", "b", "c", "d")]
    body = {**BODIES[path], "stream": True}
    stream = client.post(path, json=body, headers={"X-Request-Id": "mine"}, buffered=False)
    frames = stream.iter_encoded()
    next(frames)
    (told,) = listed(client)
    assert (told["id"], told["model"], told["route"], told["stream"]) == ("mine", "tiny", path, True)
    assert told["state"] in ("prefill", "decode") and told["prompt_tokens"] == 5 and told["age_s"] >= 0
    assert client.delete("/requests/yours").status_code == client.delete("/requests/" + "x" * 500).status_code == 404
    assert client.delete("/requests/mine").get_json()["cancelled"] == 1
    rest = b"".join(frames).decode()
    last = [line.removeprefix("data: ") for line in rest.splitlines() if line.startswith("data: {")][-1]
    assert SHAPES[path](json.loads(last)), last
    stream.close()
    assert listed(client) == [] and client.delete("/requests/mine").status_code == 404


@pytest.mark.parametrize("path", FAMILY)
def test_an_answer_that_is_cancelled_is_an_error(app: Flask, pool: FakePool, path: str) -> None:
    def cancel() -> None:
        pool.on_event = lambda: None
        (told,) = listed(app.test_client())
        assert (told["id"], told["route"], told["client"], told["stream"]) == ("mine", path, "127.0.0.1", False)
        assert app.test_client().post("/requests/mine/cancel").get_json()["cancelled"] == 1

    pool.scripts = [says("a", "b")]
    pool.on_event = cancel
    answer = app.test_client().post(path, json=BODIES[path], headers={"X-Request-Id": "mine"})
    assert answer.status_code == 403 and SHAPES[path](answer.get_json())


def test_processes_answer_each_other(tmp_path: Path) -> None:
    here = InFlight()
    (tmp_path / "4194302.web").touch()
    here.serve(tmp_path)
    assert not (tmp_path / "4194302.web").exists(), "nobody has to list requests for that"
    for id, model in (("one", "m"), ("two", "m"), ("two", "m"), ("three", "")):
        here.add(RequestRecord(id=id, model=model))
    (tmp_path / "4194305.web").touch()  # above the largest pid: left behind by a process that was killed
    (tmp_path / "1.web").touch()  # of a process that lives and does not answer
    here.note_failure(RequestRecord(id="bad", model="m", code="queue_full", status=429))
    here.note_failure(RequestRecord(id="gone", model="m", code=CLIENT_LEFT))
    told, silent = ask_all(tmp_path, Question(wants_failures=True))
    assert [(each.id, each.code, each.status) for each in told.failures] == [("bad", "queue_full", 429)]
    assert sorted(each.id for each in told.requests) == ["one", "two", "two"] and silent == [1]
    assert not (tmp_path / "4194305.web").exists()
    told, _ = ask_all(tmp_path, Question(cancel="two"))
    assert [each.id for each in told.requests] == ["two", "two"] and told.failures == []
    assert [each.is_cancelled for each in here._records.values()] == [False, True, True, False]


def test_a_process_that_breaks_off_its_answer_is_silent(tmp_path: Path) -> None:
    def break_off() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"\x93")  # of a list of three, nothing

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "1.web"))
        listener.listen()
        other = threading.Thread(target=break_off)
        other.start()
        assert ask_all(tmp_path, Question()) == (Told(), [1])
        other.join()


def test_thinking_is_ended_by_whom_it_belongs_to() -> None:
    in_flight = InFlight()
    record = RequestRecord(id="run-1", keeper="alice", answer_id="chatcmpl-1", can_end_thinking=True)
    deaf = RequestRecord(id="run-2", answer_id="chatcmpl-2")
    for each in (record, deaf):
        each.await_model("tiny")
        in_flight.add(each)

    def tell(id: str, keeper: str | None) -> tuple[int, int]:
        told = in_flight.answer(Question(end_thinking=id, keeper=keeper))
        return len(told.requests), told.ending

    assert tell("chatcmpl-1", None) == tell("chatcmpl-2", None) == (0, 0), "they have not begun"
    for each in (record, deaf):
        each.submit()
    assert tell("chatcmpl-1", "bob") == tell("chatcmpl-1", "") == tell("chatcmpl-9", None) == (0, 0)
    assert tell("chatcmpl-2", None) == (1, 0) and not deaf.ends_thinking
    assert not record.ends_thinking
    assert tell("chatcmpl-1", "alice") == tell("run-1", "alice") == tell("chatcmpl-1", None) == (1, 1)
    assert record.ends_thinking
    assert in_flight.answer(Question()).requests[0].id == "run-1"
