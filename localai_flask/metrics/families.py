"""Every metric that this server counts: its name, what it means, its labels and its buckets, declared once.

What vLLM counts too has vLLM's name, labels and buckets, so that its boards and whatever else reads it work unchanged;
`engine` is the number of a model's replica there. The rest is called `localai_flask_…`, and two have LocalAI's names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[str, ...]

MODEL = ("model_name", "engine")

FIRST_TOKEN_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
PER_TOKEN_S = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0),
    *(2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
PHASE_S = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
TOKENS = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
CALL_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, *PHASE_S[2:])
LOAD_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric; a counter's name ends with `_total`."""

    name: str
    kind: Kind
    help: str
    labels: Labels
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers one series of it has: for a histogram its buckets, what lies above them, and the sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1


FAMILIES: dict[str, Family] = {}
"""By name."""


def _declare(family: Family) -> Family:
    FAMILIES[family.name] = family
    return family


def _counter(name: str, help: str, *labels: str) -> Family:
    return _declare(Family(name, "counter", help, labels))


def _gauge(name: str, help: str, *labels: str) -> Family:
    return _declare(Family(name, "gauge", help, labels))


def _histogram(name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Family:
    return _declare(Family(name, "histogram", help, labels, buckets))


# What vLLM counts too.

RUNNING = _gauge("vllm:num_requests_running", "Requests that the engine works on.", *MODEL)
WAITING = _gauge("vllm:num_requests_waiting", "Requests that wait for the engine.", *MODEL)
KV_USAGE = _gauge("vllm:kv_cache_usage_perc", "Share of the KV cache that holds tokens (1: all of it).", *MODEL)

PROMPT_TOKENS = _counter("vllm:prompt_tokens_total", "Prompt tokens of requests that were begun.", *MODEL)
CACHED_TOKENS = _counter("vllm:prompt_tokens_cached_total", "Prompt tokens that were found in the cache.", *MODEL)
GENERATION_TOKENS = _counter("vllm:generation_tokens_total", "Generated tokens.", *MODEL)
PREFIX_QUERIES = _counter("vllm:prefix_cache_queries_total", "Tokens that were looked for in the prefix cache.", *MODEL)
PREFIX_HITS = _counter("vllm:prefix_cache_hits_total", "Tokens that were found in the prefix cache.", *MODEL)
DRAFTED = _counter("vllm:spec_decode_num_draft_tokens_total", "Tokens that speculation has proposed.", *MODEL)
ACCEPTED = _counter("vllm:spec_decode_num_accepted_tokens_total", "Proposed tokens that were right.", *MODEL)
SUCCESS = _counter(
    "vllm:request_success_total",
    "Sequences that have ended: stop, length, abort (the client left, or it was cancelled) or error.",
    *(*MODEL, "finished_reason"),
)

FIRST_TOKEN = _histogram(
    "vllm:time_to_first_token_seconds", "From a request's arrival to its first text.", FIRST_TOKEN_S, *MODEL
)
INTER_TOKEN = _histogram(
    "vllm:inter_token_latency_seconds", "Time from one generated token to the next.", PER_TOKEN_S, *MODEL
)
PER_OUTPUT_TOKEN = _histogram(
    "vllm:request_time_per_output_token_seconds", "Mean time per token of a finished sequence.", PER_TOKEN_S, *MODEL
)
LATENCY = _histogram(
    "vllm:e2e_request_latency_seconds", "From a request's arrival to the end of a sequence.", PHASE_S, *MODEL
)
QUEUE_TIME = _histogram("vllm:request_queue_time_seconds", "Time that a sequence waited.", PHASE_S, *MODEL)
PREFILL_TIME = _histogram(
    "vllm:request_prefill_time_seconds", "From a sequence's start to its first text.", PHASE_S, *MODEL
)
DECODE_TIME = _histogram("vllm:request_decode_time_seconds", "From the first text to the end.", PHASE_S, *MODEL)
INFERENCE_TIME = _histogram(
    "vllm:request_inference_time_seconds", "From a sequence's start to its end.", PHASE_S, *MODEL
)
REQUEST_PROMPT = _histogram("vllm:request_prompt_tokens", "Prompt tokens of a finished sequence.", TOKENS, *MODEL)
REQUEST_GENERATION = _histogram(
    "vllm:request_generation_tokens", "Generated tokens of a finished sequence.", TOKENS, *MODEL
)
REQUEST_MAX_TOKENS = _histogram("vllm:request_params_max_tokens", "The `max_tokens` asked for.", TOKENS, *MODEL)

# LocalAI's names.

API_CALL = _histogram("api_call", "Time that requests took, in seconds.", CALL_S, "method", "path")
TOKENS_BY_USER = _counter("localai_tokens_total", "Tokens by the name of the API key.", "user", "served_model", "kind")

# Ours.

HTTP_REQUESTS = _counter(
    "localai_flask_http_requests_total",
    "Requests that were answered, by API family, route and status (499: the client left).",
    *("family", "method", "route", "status"),
)
ERRORS = _counter(
    "localai_flask_request_errors_total", "Requests that were refused or failed, by the error's code.", "family", "code"
)
OPEN_REQUESTS = _gauge("localai_flask_open_requests", "Requests that are being answered.")
OPEN_WORK = _gauge("localai_flask_open_work", "Requests that work on a model, or wait for it.")
OPEN_STREAMS = _gauge("localai_flask_open_streams", "Streams that are open.")
MODEL_STATE = _gauge(
    "localai_flask_model_state", "1 for the state that a model is in, of those asked for so far.", "model_name", "state"
)
MODEL_MEMORY = _gauge("localai_flask_model_memory_bytes", "Resident memory of a model's worker.", *MODEL)
MODEL_CPU = _gauge("localai_flask_model_cpu_seconds", "Processor time that a model's worker has taken.", *MODEL)
MODEL_WEIGHTS = _gauge(
    "localai_flask_model_loaded_bytes", "Weights and cache of a loaded model, as its engine says.", "model_name"
)
WORKER_UPTIME = _gauge("localai_flask_model_uptime_seconds", "Age of a model's worker.", *MODEL)
ENGINE_SILENT = _gauge("localai_flask_engine_silent_seconds", "How long the engine has been at one step.", *MODEL)
LOADS = _counter(
    "localai_flask_model_loads_total",
    "Loads that have ended: ok, or failed; one that has killed its worker is among the ends of workers.",
    *("model_name", "outcome"),
)
LOAD_TIME = _histogram("localai_flask_model_load_seconds", "Time that successful loads took.", LOAD_S, "model_name")
WORKER_ENDS = _counter(
    "localai_flask_worker_ends_total",
    "Model workers that have ended: left, killed as they hung, or died.",
    "model_name",
    "how",
)
STORE_BYTES = _gauge("localai_flask_store_bytes", "Size of the SQLite file of stored responses.")
BUILD = _gauge("localai_flask_build_info", "1, with what is running.", "version", "python")
