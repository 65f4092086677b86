"""How web workers and model workers call the manager.

It is a `multiprocessing.managers.BaseManager` on an AF_UNIX socket, whose one object has six methods (protocol.py).
"""

from __future__ import annotations

import socket
import struct
from multiprocessing.connection import (  # type: ignore[attr-defined]  # typeshed leaves the challenges out
    Connection,
    Listener,
    answer_challenge,
    deliver_challenge,
)
from multiprocessing.managers import BaseManager, BaseProxy, listener_client  # type: ignore[attr-defined]
from typing import Any

from localai_flask.errors import ErrorInfo
from localai_flask.pool.protocol import (
    Directory,
    News,
    PoolReport,
    Registration,
    Report,
    ReportAnswer,
    decode_directory,
    decode_pool_report,
    decode_report_answer,
    encode,
)
from localai_flask.pool.runtime import Runtime

ANSWER_S = 5.0
"""How long one exchange with the manager may take; a hung manager must not take its clients with it."""


def _connect_to_manager(address: str, authkey: bytes) -> Connection:
    # `multiprocessing.connection.Client` waits for ever, also while it connects and while both prove their key.
    timeout = struct.pack("ll", int(ANSWER_S), int(ANSWER_S % 1 * 1e6))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connecting:
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
        connecting.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)
        connecting.connect(address)
        connection: Connection = Connection(connecting.detach())
    answer_challenge(connection, authkey)
    deliver_challenge(connection, authkey)
    return connection


SERIALIZER = "pickle, with a deadline"
listener_client[SERIALIZER] = (Listener, _connect_to_manager)


class PoolProxy(BaseProxy):
    """The manager's object as its clients see it.

    Every method raises `OSError` or `EOFError` if the manager does not answer in time, or with an error; then make
    another proxy.
    """

    _tls: Any  # what BaseProxy has and typeshed leaves out
    _id: str
    _connect: Any

    _exposed_ = ("sync", "register", "report", "fail", "describe", "unload")

    def sync(self, news: News) -> Directory:
        """Send what requests want, and read the whole directory; returns at once."""
        return decode_directory(self._callmethod("sync", (encode(news),)))

    def describe(self) -> PoolReport:
        return decode_pool_report(self._callmethod("describe"))

    def unload(self, name: str, *, by_force: bool) -> bool:
        """Let a model's workers leave, by force at once; return whether it had any."""
        return bool(self._callmethod("unload", (name, by_force)))

    def register(self, registration: Registration) -> None:
        self._callmethod("register", (encode(registration),))

    def report(self, report: Report) -> ReportAnswer:
        """Send a heartbeat."""
        return decode_report_answer(self._callmethod("report", (encode(report),)))

    def fail(self, worker_id: str, error: ErrorInfo) -> None:
        """Report why the model could not be loaded, as a worker's last word."""
        self._callmethod("fail", (worker_id, encode(error)))

    def _callmethod(self, methodname: str, args: Any = (), kwds: Any = None) -> Any:
        if not hasattr(self._tls, "connection"):
            self._connect()
        connection: Connection = self._tls.connection
        connection.send((self._id, methodname, args, kwds or {}))
        kind, result = connection.recv()
        if kind != "#RETURN":
            raise ConnectionError(f"the pool manager failed at {methodname}: {result}")
        return result


class PoolServer(BaseManager):
    """The manager's server side registers the real object (manager.py); clients only need the proxy type."""


PoolServer.register("pool", proxytype=PoolProxy, exposed=PoolProxy._exposed_)


def connect(runtime: Runtime) -> PoolProxy:
    """Connect to the running manager; raise `OSError` or `EOFError` while there is none."""
    server = PoolServer(address=str(runtime.manager_socket), authkey=runtime.key, serializer=SERIALIZER)
    server.connect()
    proxy: PoolProxy = server.pool()  # type: ignore[attr-defined]  # made by register()
    return proxy
