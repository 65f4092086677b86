"""What an operator sees of a running server, also while it is full and after its processes were killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client import parser

from localai_flask.metrics.request_record import Phases
from tests.e2e.conftest import ECHO
from tests.e2e.test_life import CHAT, FAMILIES, Stream, StreamError, body
from tests.support.collector import Collector
from tests.support.processes import wait_for
from tests.support.server import Server

SUCCESS = "vllm:request_success_total"


def scrape(server: Server) -> dict[tuple[str, ...], float]:
    """The page: a name and the values of its labels, in the labels' order, to the value."""
    with urllib.request.urlopen(server.url + "/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = (each for family in parser.text_string_to_metric_families(text) for each in family.samples)
    return {(each.name, *(value for _, value in sorted(each.labels.items()))): each.value for each in found}


def listed(server: Server) -> list[dict[str, Any]]:
    with urllib.request.urlopen(server.url + "/requests", timeout=5) as answer:
        return json.load(answer)["data"]


def access_lines(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log().splitlines() if line.startswith('{"time"')]


def ends(server: Server) -> Counter[str]:
    seen = scrape(server)
    return Counter({key[2]: int(value) for key, value in seen.items() if key[0] == SUCCESS and key[3] == "echo"})


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Server]:
    models = tmp_path / "models"
    models.mkdir()
    (models / "echo.yaml").write_text(ECHO)
    for name, options in {"idle": [], "jammed": ["load_error:paper jam"], "crashing": ["fatal_signal:SIGKILL"]}.items():
        (models / f"{name}.yaml").write_text(json.dumps({"name": name, "backend": "echo", "options": options}))
    (models / "broken.yaml").write_text("name: broken\n  backend: [\n")
    environment = {"LOCALAI_ACCESS_LOG": "json", "LOCALAI_HTTP_THREADS": "4", "LOCALAI_GRACEFUL_TIMEOUT": "4"}
    with Server(models, tmp_path, LOCALAI_LOAD_TO_MEMORY="echo", **environment) as server:
        yield server


def test_counts_are_exact_over_all_processes_and_their_deaths(watched: Server) -> None:
    expected: Counter[str] = Counter()
    for path, of_family in FAMILIES.items():
        for say, fate in (("fine", {}), ("broken", {"fail_after": 2}), ("well", {})):
            watched.post(path, of_family(body(say, **fate)))
            expected["error" if fate else "stop"] += 1
    assert ends(watched) == expected

    doomed = Stream(watched, "x" * 50, pace_ms=50)
    content = doomed.content()
    next(content)
    os.kill(watched.model_workers()[0], signal.SIGKILL)
    with pytest.raises(StreamError):
        list(content)
    doomed.hang_up()
    expected["error"] += 1
    wait_for(lambda: ends(watched) == expected, 5, "the death of a model worker is counted")

    left = Stream(watched, "x" * 50, pace_ms=50)
    next(left.content())
    left.hang_up()
    expected["abort"] += 1
    wait_for(lambda: ends(watched) == expected, 5, "a client that left is counted")

    before = scrape(watched)
    for pid in watched.web_workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: watched.status("/readyz") == 200, 20, "web workers are back")
    assert ends(watched) == expected
    tokens = ("vllm:generation_tokens_total", "0", "echo")
    assert scrape(watched)[tokens] == before[tokens] > 0
    assert watched.post(CHAT, body("again"))[0] == 200
    expected["stop"] += 1
    assert ends(watched) == expected
    assert len(list(Path(watched.runtime_dir()).glob("counts/*"))) <= 8

    def lines_of_models() -> list[dict[str, Any]]:
        return [line for line in access_lines(watched) if line["route"] in FAMILIES]

    # A line is written when its answer has ended, which its client may see a moment before.
    wait_for(lambda: len(lines_of_models()) >= sum(expected.values()), 5, "the last line")
    lines = lines_of_models()
    assert len(lines) == sum(expected.values()) and len({line["id"] for line in lines}) == len(lines)
    for line in lines:
        assert sum(line[f"{phase}_ms"] for phase in Phases._fields) == pytest.approx(line["total_ms"])
    assert Counter(line["error"] for line in lines) == {
        None: expected["stop"],
        "unavailable": 3,
        "model_worker_died": 1,
        "client_left": 1,
    }


def test_a_full_server_is_scraped_and_its_requests_are_listed_and_cancelled(watched: Server) -> None:
    streams = _fill(watched, places=8)
    try:
        begun = time.monotonic()
        seen = scrape(watched)
        assert time.monotonic() - begun < 2
        assert seen["localai_flask_open_streams",] == 8
        wait_for(lambda: scrape(watched).get(("vllm:num_requests_running", "0", "echo")) == 8, 5, "the engine's count")
        requests = listed(watched)
        assert len(requests) == 8 and len({request["pid"] for request in requests}) == 2
        assert all(request["state"] == "decode" and request["completion_tokens"] > 0 for request in requests)
        for request in requests:
            ask = urllib.request.Request(f"{watched.url}/requests/{request['id']}", method="DELETE")
            assert json.load(urllib.request.urlopen(ask, timeout=5))["cancelled"] == 1
        for stream in streams:
            with pytest.raises(StreamError, match="request_cancelled"):
                list(stream.content())
        wait_for(lambda: not listed(watched), 5, "nothing is in flight")
        assert ends(watched) == Counter({"abort": 8})
    finally:
        for stream in streams:
            stream.hang_up()


def test_a_stopped_model_and_a_stopped_web_worker_hold_up_no_scrape(watched: Server) -> None:
    stream = Stream(watched, "x" * 400, pace_ms=50)
    next(stream.content())
    model, web = watched.model_workers()[0], listed(watched)[0]["pid"]
    (manager,) = watched.managers()
    os.kill(model, signal.SIGSTOP)
    os.kill(manager, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        assert scrape(watched)["localai_flask_open_streams",] == 1
        assert time.monotonic() - begun < 2
        os.kill(manager, signal.SIGCONT)
        os.kill(web, signal.SIGSTOP)
        other = next(pid for pid in watched.web_workers() if pid != web)
        answers = [_requests_from_any(watched) for _ in range(6)]
        told = next(answer for answer in answers if answer is not None)
        assert web in told["silent"] and other not in told["silent"]
    finally:
        for pid in (web, model, manager):
            os.kill(pid, signal.SIGCONT)
        stream.hang_up()


def _fill(server: Server, places: int) -> list[Stream]:
    """Take every place of all web workers; a connection falls to one of them, which may have none left."""
    streams: list[Stream] = []
    deadline = time.monotonic() + 20
    while len(streams) < places:
        assert time.monotonic() < deadline
        stream = Stream(server, "x" * 1000, pace_ms=50)
        if b" 200 " in stream._file.readline():
            next(stream.content())
            streams.append(stream)
        else:
            stream.hang_up()
    return streams


def _requests_from_any(server: Server) -> dict[str, Any] | None:
    """The list, unless the connection fell to the web worker that is stopped."""
    try:
        with urllib.request.urlopen(server.url + "/requests", timeout=3) as answer:
            return json.load(answer)
    except TimeoutError:
        return None


def test_the_official_client_hears_of_a_cancellation_and_sends_no_second_request(watched: Server) -> None:
    threading.Timer(0.5, lambda: _cancel_all(watched)).start()
    with (
        openai.OpenAI(base_url=f"{watched.url}/v1", api_key="none", timeout=20) as client,
        pytest.raises(openai.PermissionDeniedError, match="administrator"),
    ):
        client.chat.completions.create(**body("x" * 400, pace_ms=50))  # type: ignore[call-overload]
    lines = wait_for(lambda: [line for line in access_lines(watched) if line["route"] == CHAT], 5, "a line")
    assert [line["status"] for line in lines] == [403]


def _cancel_all(server: Server) -> None:
    for request in wait_for(lambda: listed(server), 5, "a request is in flight"):
        ask = urllib.request.Request(f"{server.url}/requests/{request['id']}", method="DELETE")
        urllib.request.urlopen(ask, timeout=5).close()


def test_what_a_model_says_is_read_over_http_also_if_it_cannot_be_loaded(watched: Server) -> None:
    for model in ("jammed", "crashing"):
        assert watched.post(CHAT, {**body("x"), "model": model})[0] >= 422
    jammed = [line["text"] for line in _get(watched, "/api/backend-logs/jammed?lines=5")]
    assert any("cannot load model jammed" in text and "paper jam" in text for text in jammed), jammed
    crashing = [line["text"] for line in _get(watched, "/api/backend-logs/crashing")]
    assert any("ended while loading the model: killed by SIGKILL" in text for text in crashing), crashing
    lines = _get(watched, "/backend/logs/echo")
    assert any("model echo is ready" in line["text"] and line["timestamp"].endswith("Z") for line in lines)
    assert len(_get(watched, "/api/backend-logs/echo?lines=1")) == 1
    assert _get(watched, "/api/backend-logs") == ["crashing", "echo", "jammed"]
    assert watched.status("/api/backend-logs/nobody") == 404
    assert watched.status("/api/backend-logs/broken") == 422, "its YAML says why it has no log"
    assert _get(watched, "/api/backend-logs/idle") == []
    for wrong in ("0", "x", "10001", "9" * 50):
        assert watched.status(f"/api/backend-logs/echo?lines={wrong}") == 400


def test_what_never_reaches_the_application_leaves_a_line_too(watched: Server) -> None:
    with socket.create_connection(("127.0.0.1", watched.port), timeout=5) as client:
        client.sendall(b"NONSENSE\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    (line,) = wait_for(lambda: [each for each in access_lines(watched) if each["error"] == "invalid_http"], 5, "a line")
    assert (line["status"], line["route"], line["client"]) == (400, "-", "127.0.0.1")
    assert scrape(watched)["localai_flask_request_errors_total", "invalid_http", "other"] == 1


def _get(server: Server, path: str) -> Any:
    with urllib.request.urlopen(server.url + path, timeout=5) as answer:
        return json.load(answer)


def test_a_trace_goes_from_the_client_through_to_the_model_worker(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "echo.yaml").write_text(ECHO)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with Collector() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        with Server(models, tmp_path, LOCALAI_LOAD_TO_MEMORY="echo", **environment) as server:
            ask = body("fine", prefill_ms=50, pace_ms=20)
            assert server.post(CHAT, ask, headers={"traceparent": f"00-{trace}-{parent}-01"})[0] == 200
            wait_for(lambda: collector.named("decode") and collector.named("chat echo"), 10, "the spans arrive")
        assert collector.services == {"localai-flask"}
        (request,) = collector.named("chat echo")
        assert request.trace_id.hex() == trace and request.parent_span_id.hex() == parent
        begun = 0
        for name, least_ms in (("queue", 0), ("prefill", 40), ("decode", 50)):
            (phase,) = collector.named(name)
            assert phase.trace_id.hex() == trace and phase.parent_span_id == request.span_id
            assert phase.start_time_unix_nano >= begun and phase.end_time_unix_nano <= request.end_time_unix_nano + 5e6
            begun = phase.end_time_unix_nano
            assert begun - phase.start_time_unix_nano >= least_ms * 1e6
