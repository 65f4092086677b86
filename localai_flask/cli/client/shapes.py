"""What the commands read of a server's answers; other servers that speak OpenAI's API may leave out most of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Model(msgspec.Struct):
    id: str
    created: float = 0
    state: str = ""
    context_length: int | None = None
    capabilities: Sequence[str] = ()
    given_up: str = ""
    backend: str | None = None
    size: int | None = None


class ModelList(msgspec.Struct):
    data: list[Model]


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None


class Choice(msgspec.Struct):
    delta: Delta = msgspec.field(default_factory=Delta)
    finish_reason: str | None = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int = 0


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None


class Timings(msgspec.Struct):
    prompt_n: int = 0
    prompt_ms: float = 0
    prompt_per_second: float = 0
    predicted_n: int = 0
    predicted_ms: float = 0
    predicted_per_second: float = 0


class PromptProgress(msgspec.Struct):
    total: int = 0
    processed: int = 0


class Chunk(msgspec.Struct):
    """A piece of a streamed chat completion, or of what comes before the first one."""

    choices: Sequence[Choice] = ()
    usage: Usage | None = None
    timings: Timings | None = None
    load_progress: float | None = None
    queue_place: int | None = None
    prompt_progress: PromptProgress | None = None


class Worker(msgspec.Struct):
    pid: int
    memory_bytes: int = 0
    uptime: float = 0


class LoadedModel(msgspec.Struct):
    """A model in the memory, as `GET /system` has it."""

    id: str
    backend: str = ""
    state: str = ""
    pinned: bool = False
    memory_bytes: int = 0
    requests_running: int = 0
    requests_waiting: int = 0
    unloads_in: float | None = None
    error: str | None = None
    workers: Sequence[Worker] = ()


class System(msgspec.Struct):
    models: Sequence[LoadedModel] = ()
