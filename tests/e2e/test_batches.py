"""Files and batches as users have them: the official clients, real sockets, a scripted model, and killed processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from localai_flask.background.batches.work import LAST_WORDS_S
from tests.support.processes import wait_for
from tests.support.server import Server

CHAT = "/v1/chat/completions"


def line(custom_id: str, text: str, **more: Any) -> bytes:
    body = {"model": "echo", "messages": [{"role": "user", "content": text}], **more}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}).encode()


def begin(client: openai.OpenAI, *lines: bytes, **more: Any) -> Any:
    uploaded = client.files.create(file=("in.jsonl", b"\n".join(lines)), purpose="batch")
    return client.batches.create(input_file_id=uploaded.id, endpoint=CHAT, completion_window="24h", **more)


def await_end(client: openai.OpenAI, id: str) -> Any:
    def ended() -> Any:
        batch = client.batches.retrieve(id)
        return batch if batch.status in ("completed", "failed", "cancelled", "expired") else None

    return wait_for(ended, 60, f"{id} has ended")


def read(client: openai.OpenAI, file_id: str | None) -> list[Any]:
    if file_id is None:
        return []
    return [json.loads(text) for text in client.files.content(file_id).text.splitlines()]


def said(output: Any) -> str:
    return str(output["response"]["body"]["choices"][0]["message"]["content"])


def test_files(client: openai.OpenAI) -> None:
    content = os.urandom(1_500_000)
    uploaded = client.files.create(file=('a "b".bin', content), purpose="user_data")
    assert (uploaded.bytes, uploaded.purpose, uploaded.expires_at) == (1_500_000, "user_data", None)
    assert client.files.retrieve(uploaded.id) == uploaded
    assert client.files.content(uploaded.id).content == content
    brief = client.files.create(
        file=("b.txt", b""), purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert brief.expires_at == pytest.approx(brief.created_at + 3600, abs=2)
    assert [file.id for file in client.files.list(limit=1)][:2] == [brief.id, uploaded.id]
    assert [file.id for file in client.files.list(purpose="vision")] == [brief.id]
    assert client.files.delete(uploaded.id).deleted
    with pytest.raises(openai.NotFoundError, match=uploaded.id):
        client.files.content(uploaded.id)


def test_lines_are_answered_one_by_one(client: openai.OpenAI) -> None:
    lines = [
        line("a", "one"),
        b"{not json",
        line("b", "two", temperature="hot"),
        line("a", "again"),
        b"",
        line("c", "three"),
    ]
    lines += [line("d", "x", model="nothing"), line("e", "x", stream=True)]
    batch = begin(client, *lines, metadata={"for": "a test"})
    assert batch.status == "validating" and batch.metadata == {"for": "a test"}
    ended = await_end(client, batch.id)
    assert (ended.status, ended.request_counts.to_dict()) == ("completed", {"total": 7, "completed": 2, "failed": 5})
    assert ended.created_at <= ended.in_progress_at <= ended.finalizing_at <= ended.completed_at <= ended.expires_at
    outputs = read(client, ended.output_file_id)
    assert [(each["custom_id"], said(each)) for each in outputs] == [("a", "one"), ("c", "three")]
    assert all(each["response"]["status_code"] == 200 and each["error"] is None for each in outputs)
    errors = read(client, ended.error_file_id)
    assert [each["custom_id"] for each in errors] == [None, "b", "a", "d", "e"]
    assert "line 2" in errors[0]["error"]["message"] and "stands in a line before" in errors[2]["error"]["message"]
    assert errors[1]["response"]["body"]["error"]["param"] == "temperature"
    assert errors[3]["response"]["status_code"] == 404 and "body.stream" in errors[4]["error"]["message"]
    told = [each["response"]["body"]["usage"] for each in outputs]
    assert ended.usage.input_tokens == sum(each["prompt_tokens"] for each in told) > 0
    assert ended.usage.output_tokens == sum(each["completion_tokens"] for each in told) > 0
    assert client.files.retrieve(ended.output_file_id).purpose == "batch_output"
    assert batch.id in [each.id for each in client.batches.list(limit=1)]


@pytest.mark.parametrize(("content", "code"), [(b"", "empty_file"), (b"\n \n", "empty_file")])
def test_a_file_that_is_no_batch_fails_it(client: openai.OpenAI, content: bytes, code: str) -> None:
    ended = await_end(client, begin(client, content).id)
    assert ended.status == "failed" and ended.errors.data[0].code == code and ended.failed_at


def test_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="file-none"):
        client.batches.create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    other = client.files.create(file=("x", b"{}"), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="user_data"):
        client.batches.create(input_file_id=other.id, endpoint=CHAT, completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        client.files.create(file=("x", b"{}"), purpose="fine-tune")
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_none")


def test_cancel(client: openai.OpenAI) -> None:
    slow = json.dumps({"say": "x" * 400, "pace_ms": 50})
    batch = begin(client, line("quick", "one"), *(line(f"slow-{n}", slow) for n in range(6)))
    wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed, 30, "the first answer")
    assert client.batches.cancel(batch.id).status in ("cancelling", "finalizing", "cancelled")
    ended = await_end(client, batch.id)
    assert ended.status == "cancelled" and 0 <= ended.cancelled_at - ended.cancelling_at < LAST_WORDS_S, "none stopped"
    assert [said(each) for each in read(client, ended.output_file_id)] == ["one"]
    errors = read(client, ended.error_file_id)
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"} and len(errors) == 6


@pytest.fixture
def start(models_path: Path, tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts servers that share their state, one after the other."""
    servers: list[Server] = []

    def start() -> Server:
        scratch = tmp_path / str(len(servers))
        scratch.mkdir()
        more = {"XDG_STATE_HOME": str(tmp_path / "state"), "LOCALAI_LOAD_TO_MEMORY": "echo"}
        servers.append(Server(models_path, scratch, **more).__enter__())
        return servers[-1]

    yield start
    for server in reversed(servers):
        server.__exit__(None, None, None)


def test_each_line_is_answered_once_whoever_is_killed(start: Callable[[], Server]) -> None:
    first = start()
    lines = [line(str(n), json.dumps({"say": f"answer {n}", "pace_ms": 30})) for n in range(60)]
    with openai.OpenAI(base_url=f"{first.url}/v1", api_key="none", max_retries=3) as client:
        batch = begin(client, *lines)
        wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed >= 8, 60, "some answers")
        (pid,) = first.background_workers()
        os.kill(pid, signal.SIGKILL)
        before = client.batches.retrieve(batch.id).request_counts.completed
        wait_for(lambda: client.batches.retrieve(batch.id).request_counts.completed > before + 4, 60, "more answers")
    assert first.process is not None
    first.process.kill()
    first.process.wait(40)
    wait_for(lambda: not first.background_workers(), 10, "the background process is gone")
    with openai.OpenAI(base_url=f"{start().url}/v1", api_key="none", max_retries=3) as client:
        ended = await_end(client, batch.id)
        assert ended.status == "completed" and ended.error_file_id is None
        outputs = read(client, ended.output_file_id)
    assert [(each["custom_id"], said(each)) for each in outputs] == [(str(n), f"answer {n}") for n in range(60)]
