"""What manager, model workers and web workers tell each other about workers; no tokens pass here.

It travels as msgpack of the structs below, so that the two ends may run from different virtual environments (proxy.py).
"""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from localai_flask.config import model as model_config
from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ErrorInfo
from localai_flask.generation import ModelInfo
from localai_flask.pool.memory_need import estimate_need, estimate_wish

LOG_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"
"""How manager, model workers and background process write to the server's log: as gunicorn does."""


class ModelState(enum.StrEnum):
    """What has become of a model, whoever wants it."""

    ABSENT = "absent"
    LOADING = "loading"
    READY = "ready"
    """A worker takes requests."""
    DRAINING = "draining"
    """Its workers finish what they run, and leave."""
    FAILED = "failed"
    """It cannot be had, or the last load failed and the next request tries again."""
    COOLING = "cooling"
    """The last load failed, and the next try has to wait."""


class Wanted(msgspec.Struct, frozen=True, array_like=True):
    """A model that somebody asks for, as the models folder showed it at a look, and what its files let expect."""

    config: bytes
    look: Look
    need_bytes: int = 0
    wished_bytes: int = 0


def wanted(config: ModelConfig, look: Look) -> Wanted:
    """Describe a model that somebody asks for; the pool knows variants by the name of the one that they share."""
    named = msgspec.structs.replace(config, name=config.engine.name, variant_of="")
    return Wanted(model_config.encode(named), look, estimate_need(config), estimate_wish(config))


class News(msgspec.Struct, frozen=True, array_like=True):
    """What a web worker tells of its requests: the models that they wait for, and how long others are to be kept."""

    wanted: list[Wanted]
    kept: dict[str, float] = {}
    """By config key, in seconds (-1: for ever), of requests that have ended."""


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a new model worker is told on its standard input."""

    worker_id: str
    config: bytes
    runtime_dir: str
    log_level: str
    log_prompts: bool = False
    """Whether what fails may be logged with words that it had from requests."""
    grace_s: float
    suspects: list[bytes] = []
    """As in `ReportAnswer`."""
    is_cautious: bool = False
    """Whether to load without optional speed-ups."""
    room_bytes: int | None = None
    """How much memory it may take; None: what the machine has."""


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A model worker introduces itself: once when it is ready, and to a manager that did not start it."""

    worker_id: str
    pid: int
    address: str
    config: bytes
    info: ModelInfo | None
    """None as long as the model is loading."""
    leaving: bool = False


Coming = Literal["", "engine", "files"]
"""What a model that is being loaded waits for first: its engine's installation, or files that are fetched."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A model worker's heartbeat: load progress (1.0 when ready), and the engine's age and work as in `Pong`."""

    worker_id: str
    progress: float
    coming: Coming = ""
    engine_silent_s: float = 0.0
    running: int = 0
    waiting: int = 0
    taken: int = 0
    """How many requests it has had."""
    idle_s: float = 0.0
    """How long it has had none."""
    fruitless_s: float = 0.0
    """How long those it has have brought forth nothing."""
    memory_bytes: int = 0
    """What of it lies in memory."""
    spare_bytes: int = 0
    """What of that holds only what is kept for later, and is given back when another model needs it."""
    reserved_bytes: int = 0
    """What it may come to take beside that, as the part of a cache that nothing was written to yet."""
    cpu_s: float = 0.0
    """The processor time that it has taken."""
    kv_usage: float | None = None
    """The share of its KV cache that running requests hold; None if its engine does not say."""
    leaving: bool = False
    """Whether it was told to leave, and takes no more requests."""


class ReportAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a heartbeat is answered with."""

    known: bool
    """False means that this manager does not know the worker, which then registers."""
    suspects: list[bytes] = []
    """Digests of requests that are not run, as a worker died with each of them alone in hand."""
    room_bytes: int | None = None
    """How much memory the worker may take from now on, once it is ready; None: what the machine has."""


class WorkerAddress(msgspec.Struct, frozen=True, array_like=True):
    worker_id: str
    address: str
    pid: int


class ModelStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the manager knows of one model: whom to talk to, or how long until then, or why never."""

    name: str
    state: ModelState
    required: bool = False
    progress: float = 0.0
    coming: Coming = ""
    workers: list[WorkerAddress] = []
    info: ModelInfo | None = None
    error: ErrorInfo | None = None


class WorkerLoad(msgspec.Struct, frozen=True, array_like=True):
    """How much a worker had to do when it last said so, and how many requests it had had by then."""

    running: int
    waiting: int
    taken: int


class Directory(msgspec.Struct, frozen=True):
    """What the manager tells web workers: models by config key, and the loads of their workers by worker id."""

    models: dict[str, ModelStatus]
    loads: dict[str, WorkerLoad]


class WorkerReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may want to know of a worker."""

    pid: int
    is_ready: bool
    is_leaving: bool
    memory_bytes: int
    cpu_s: float
    up_s: float
    running: int
    waiting: int
    taken: int
    kv_usage: float | None = None
    spare_bytes: int = 0
    """What of its memory it would give back for another model."""
    reserved_bytes: int = 0
    """What it may come to take beside that."""


class ModelReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may want to know of a model; of the times None is what is not the case."""

    name: str
    backend: str
    state: ModelState
    is_pinned: bool
    is_required: bool
    need_bytes: int
    memory_bytes: int
    ready_s: float | None
    idle_s: float | None
    expires_s: float | None
    """How long until it is unloaded, if nobody uses it."""
    waited_s: float | None
    """How long requests have waited for it."""
    error: ErrorInfo | None
    workers: list[WorkerReport]


class PoolReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator may want to know of the pool; a limit that is None or 0 is none."""

    models: list[ModelReport]
    backends: list[str]
    """The engines that are installed."""
    memory_budget: int | None
    max_models: int


encode = msgspec.msgpack.Encoder().encode
decode_news = msgspec.msgpack.Decoder(News).decode
decode_spec = msgspec.msgpack.Decoder(WorkerSpec).decode
decode_registration = msgspec.msgpack.Decoder(Registration).decode
decode_report = msgspec.msgpack.Decoder(Report).decode
decode_report_answer = msgspec.msgpack.Decoder(ReportAnswer).decode
decode_error = msgspec.msgpack.Decoder(ErrorInfo).decode
decode_pool_report = msgspec.msgpack.Decoder(PoolReport).decode
decode_directory = msgspec.msgpack.Decoder(Directory).decode
