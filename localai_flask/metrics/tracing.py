"""OpenTelemetry's spans of requests, if its own variables ask for them: off, nothing of it is imported.

A request's span continues the trace of its client (W3C Trace Context). The model worker that runs the request adds what
it alone knows: how long it waited, how long the prompt took, and how long the answer.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from localai_flask import __version__
from localai_flask.metrics.request_record import CLIENT_LEFT, RequestRecord

log = logging.getLogger("gunicorn.error")

SERVICE = "localai-flask"
ASKING = ("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
"""Variables that ask for spans, each of its own."""
FLUSH_MS = 2000
OPERATIONS = {
    "/chat/completions": "chat",
    "/messages": "chat",
    "/responses": "chat",
    "/completions": "text_completion",
    "/edits": "text_completion",
    "/embeddings": "embeddings",
}
"""The conventions' words for what is asked of a model, by how a route ends; the first that fits."""


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return whether OpenTelemetry's variables ask for spans."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(name) for name in ASKING)


class Tracing:
    """Makes spans, all of whose times are on the clock of `time.monotonic`."""

    def __init__(self, provider: Any):
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer(SERVICE, __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def begin_request(self, record: RequestRecord, parent: str = "", state: str = "") -> None:
        """Begin a request's span, below its client's, and note in the record what is passed on to the worker."""
        from opentelemetry.trace import SpanKind

        context = self._propagator.extract({"traceparent": parent, "tracestate": state})
        begun = self._to_ns(record.arrived)
        record.span = self._tracer.start_span(SERVICE, context, kind=SpanKind.SERVER, start_time=begun)
        record.trace = self._traceparent(record.span)

    def end_request(self, record: RequestRecord, now: float) -> None:
        """End a request's span with all that is known of the request."""
        from opentelemetry.trace import StatusCode

        span: Any = record.span
        operation = next((word for end, word in OPERATIONS.items() if record.route.endswith(end)), "")
        name = f"{operation} {record.model}" if operation and record.model else f"{record.method} {record.route}"
        span.update_name(name)
        span.set_attributes(_attributes(record, operation))
        if record.code and record.code != CLIENT_LEFT and (record.status >= 500 or record.status == 200):
            span.set_status(StatusCode.ERROR, record.code)
        span.end(self._to_ns(now))

    def add_phases(self, parent: str, phases: Mapping[str, tuple[float, float]], attributes: Mapping[str, Any]) -> None:
        """Add spans below a request's, each with its begin and end."""
        context = self._propagator.extract({"traceparent": parent})
        for name, (begun, ended) in phases.items():
            span = self._tracer.start_span(name, context, attributes=attributes, start_time=self._to_ns(begun))
            span.end(self._to_ns(ended))

    def flush(self) -> None:
        """Send what has not been sent, before the process ends."""
        self._provider.force_flush(FLUSH_MS)

    def _traceparent(self, span: Any) -> str:
        from opentelemetry.trace import set_span_in_context

        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, set_span_in_context(span))
        return carrier.get("traceparent", "")

    def _to_ns(self, moment: float) -> int:
        return int(moment * 1e9) + self._offset_ns


_made: tuple[int, Tracing | None] = (0, None)
"""By which process, as threads that send spans do not survive a fork; and what, if spans are wanted."""
_making = threading.Lock()


def of_process() -> Tracing | None:
    """Return what makes this process's spans; None if none are wanted."""
    global _made
    if _made[0] != os.getpid():
        with _making:  # else requests that come together each start a thread that sends spans
            if _made[0] != os.getpid():
                _made = os.getpid(), _make() if is_wanted(os.environ) else None
    return _made[1]


def install(provider: Any) -> None:
    """Have this process's spans made by a provider of the caller's own."""
    global _made
    _made = os.getpid(), None if provider is None else Tracing(provider)


def _make() -> Tracing | None:
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _make_exporter()
    except ImportError as error:
        log.warning("OTEL_… variables ask for traces, but %s; install localai-flask[otel]", error)
        return None
    name = os.environ.get("OTEL_SERVICE_NAME") or SERVICE
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return Tracing(provider)


def _make_exporter() -> Any:
    """Make what OTEL_TRACES_EXPORTER names: console, or otlp (HTTP unless OTEL_EXPORTER_OTLP_PROTOCOL says grpc)."""
    if os.environ.get("OTEL_TRACES_EXPORTER") == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


def _attributes(record: RequestRecord, operation: str) -> dict[str, Any]:
    """Describe a request in the words of the semantic conventions for HTTP and for generative AI (1.41)."""
    told: dict[str, Any] = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "client.address": record.client,
        "localai_flask.request.id": record.id,
    }
    if record.code:
        told["error.type"] = record.code
    if not record.model:
        return told
    told |= {
        "gen_ai.provider.name": SERVICE,
        "gen_ai.request.model": record.model,
        "gen_ai.response.model": record.model,
        "gen_ai.request.stream": record.stream,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
    }
    if operation:
        told["gen_ai.operation.name"] = operation
    if record.finish:
        told["gen_ai.response.finish_reasons"] = (record.finish,)
    if record.answered is not None and record.stream:
        told["gen_ai.response.time_to_first_chunk"] = record.answered - record.arrived
    return told
