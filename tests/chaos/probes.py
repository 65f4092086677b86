"""What a load balancer sees meanwhile: the two probes, asked ten times a second."""

from __future__ import annotations

import http.client
import threading
import time
from dataclasses import dataclass

EVERY_S = 0.1
PATIENCE_S = 10.0


@dataclass(frozen=True)
class Probed:
    path: str
    asked: float
    took_s: float
    status: int
    """0 where nobody answered at all."""


class Prober:
    """Asks while the block runs."""

    def __init__(self, port: int):
        self._port = port
        self._over = threading.Event()
        self.seen: list[Probed] = []
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in ("/healthz", "/readyz")]

    def __enter__(self) -> Prober:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, path: str) -> None:
        while not self._over.wait(EVERY_S):
            begun, status = time.monotonic(), 0
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_S)
            try:
                connection.request("GET", path)
                status = connection.getresponse().status
            except (OSError, http.client.HTTPException):
                pass  # status 0 says it
            finally:
                connection.close()
            self.seen.append(Probed(path, begun, time.monotonic() - begun, status))
