"""What manager, model workers and web workers tell each other about workers; no tokens pass here.

The manager is a `multiprocessing.managers.BaseManager` on an AF_UNIX socket. Its one object has four methods, and what
they take and give is msgpack of the structs below, so that the two ends may run from different virtual environments.
"""

from __future__ import annotations

from multiprocessing.connection import Connection
from multiprocessing.managers import BaseManager, BaseProxy, convert_to_error  # type: ignore[attr-defined]
from typing import Any, Literal

import msgspec

from localai_flask.errors import ErrorInfo
from localai_flask.generation import ModelInfo
from localai_flask.pool.runtime import Runtime

LOG_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(message)s"
"""How manager and model workers write to the server's log: as gunicorn does."""

ModelState = Literal["cold", "loading", "ready", "failed"]


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a new model worker is told on its standard input."""

    worker_id: str
    config: bytes
    runtime_dir: str
    log_level: str
    grace_s: float


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A model worker introduces itself: once when it is ready, and again to every new manager."""

    worker_id: str
    pid: int
    address: str
    config: bytes
    info: ModelInfo


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A model worker's heartbeat: load progress (1.0 when ready), and the engine's age and work as in `Pong`."""

    worker_id: str
    progress: float
    engine_silent_s: float = 0.0
    running: int = 0
    waiting: int = 0
    leaving: bool = False
    """Whether it was told to leave, and takes no more requests."""


class WorkerAddress(msgspec.Struct, frozen=True, array_like=True):
    worker_id: str
    address: str
    pid: int


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What the manager knows of one model: whom to talk to, or how long until then, or why never."""

    name: str
    state: ModelState
    required: bool = False
    progress: float = 0.0
    workers: list[WorkerAddress] = []
    info: ModelInfo | None = None
    error: ErrorInfo | None = None


Directory = dict[str, Lease]
"""From a config's key to its lease."""

encode = msgspec.msgpack.Encoder().encode
decode_spec = msgspec.msgpack.Decoder(WorkerSpec).decode
decode_registration = msgspec.msgpack.Decoder(Registration).decode
decode_report = msgspec.msgpack.Decoder(Report).decode
decode_error = msgspec.msgpack.Decoder(ErrorInfo).decode
decode_directory = msgspec.msgpack.Decoder(Directory).decode


class PoolProxy(BaseProxy):
    """The manager's object as its clients see it; a call that is not answered in time raises `TimeoutError`."""

    _tls: Any  # what BaseProxy has and typeshed leaves out
    _id: str
    _connect: Any

    _exposed_ = ("sync", "register", "report", "fail")
    timeout_s = 10.0

    def sync(self, wanted: list[bytes]) -> Directory:
        """Ask for the models of these configs to be loaded, and read the whole directory; returns at once."""
        return decode_directory(self._callmethod("sync", (wanted,)))

    def register(self, registration: Registration) -> None:
        self._callmethod("register", (encode(registration),))

    def report(self, report: Report) -> bool:
        """Send a heartbeat; False means that this manager does not know the worker, which then registers."""
        return bool(self._callmethod("report", (encode(report),)))

    def fail(self, worker_id: str, error: ErrorInfo) -> None:
        """Tell why the model could not be loaded, as a worker's last word."""
        self._callmethod("fail", (worker_id, encode(error)))

    def _callmethod(self, methodname: str, args: Any = (), kwds: Any = None) -> Any:
        # BaseProxy waits for ever; a stopped manager must not take its clients with it.
        if not hasattr(self._tls, "connection"):
            self._connect()
        connection: Connection = self._tls.connection
        connection.send((self._id, methodname, args, kwds or {}))
        if not connection.poll(self.timeout_s):
            connection.close()
            del self._tls.connection
            raise TimeoutError(f"the pool manager did not answer {methodname} within {self.timeout_s:.0f} s")
        kind, result = connection.recv()
        if kind == "#RETURN":
            return result
        raise convert_to_error(kind, result)


class PoolServer(BaseManager):
    """The manager's server side registers the real object (manager.py); clients only need the proxy type."""


PoolServer.register("pool", proxytype=PoolProxy, exposed=PoolProxy._exposed_)


def connect(runtime: Runtime) -> PoolProxy:
    """Connect to the running manager; raise `OSError` or `EOFError` while there is none."""
    server = PoolServer(address=str(runtime.manager_socket), authkey=runtime.key)
    server.connect()
    proxy: PoolProxy = server.pool()  # type: ignore[attr-defined]  # made by register()
    return proxy
