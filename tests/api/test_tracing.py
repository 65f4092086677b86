"""Spans of requests, in the words of OpenTelemetry's conventions; and none unless its variables ask for them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from localai_flask.errors import WorkerDied
from localai_flask.generation import Delta, Started
from localai_flask.metrics import tracing
from tests.api.fakes import FakePool, says
from tests.api.test_metrics import CHAT, TALK, app, settings  # noqa: F401  fixtures

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"}


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.install(provider)
    yield exporter
    tracing.install(None)


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_a_request_continues_its_clients_trace(
    client: FlaskClient, pool: FakePool, exporter: InMemorySpanExporter
) -> None:
    pool.scripts = [says("a", "b", prompt_tokens=7, cached=3)]
    before = time.time_ns()
    assert client.post(CHAT, json={**TALK, "stream": True}, headers=TRACED).status_code == 200
    span = only(exporter)
    assert span.name == "chat tiny" and span.kind.name == "SERVER" and span.parent is not None
    assert format(span.context.trace_id, "032x") == TRACE and format(span.parent.span_id, "016x") == PARENT
    assert span.start_time is not None and span.end_time is not None
    assert before - 50_000_000 <= span.start_time < span.end_time <= time.time_ns() + 50_000_000
    told = dict(span.attributes or {})
    assert 0 < told.pop("gen_ai.response.time_to_first_chunk") < 10  # type: ignore[operator]
    assert told == {
        "http.request.method": "POST",
        "http.route": CHAT,
        "http.response.status_code": 200,
        "client.address": "127.0.0.1",
        "localai_flask.request.id": "mine",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "localai-flask",
        "gen_ai.request.model": "tiny",
        "gen_ai.response.model": "tiny",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("eos",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cache_read.input_tokens": 3,
    }
    (terms,) = pool.terms
    assert terms.trace == f"00-{TRACE}-{format(span.context.span_id, '016x')}-01"


def test_errors_and_requests_without_a_model(
    client: FlaskClient, pool: FakePool, exporter: InMemorySpanExporter
) -> None:
    pool.scripts = [[Started(5), Delta("a", tokens=1), WorkerDied("gone")]]
    client.post(CHAT, json=TALK)
    client.get("/nowhere", headers={"traceparent": "nonsense"})
    client.get("/healthz")
    client.get("/metrics")
    died, missed = exporter.get_finished_spans()
    assert (died.name, died.status.status_code.name) == ("chat tiny", "ERROR")
    assert (died.attributes or {})["error.type"] == "model_worker_died" and died.parent is None
    assert (missed.name, missed.status.status_code.name) == ("GET -", "UNSET") and missed.parent is None


def test_what_the_client_does_not_record_is_not_recorded(
    client: FlaskClient, pool: FakePool, exporter: InMemorySpanExporter
) -> None:
    pool.scripts = [says("a")]
    client.post(CHAT, json=TALK, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert exporter.get_finished_spans() == () and pool.terms[0].trace.endswith("-00")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h"}, False),
    ],
)
def test_only_the_standard_variables_switch_it_on(environment: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environment) == wanted


def test_off_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from localai_flask.app import create_app; create_app().test_client().get('/version').close();"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PATH": ""}, timeout=60).returncode == 0


def test_requests_that_come_together_share_what_sends_their_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make() -> None:
        time.sleep(0.05)
        made.append(1)

    monkeypatch.setattr(tracing, "_made", (0, None))
    monkeypatch.setattr(tracing, "_make", make)
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(tracing.of_process)
    assert made == [1]
