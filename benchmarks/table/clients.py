"""Clients that note when each piece of an answer comes; prompts are token ids, so that their length is exact."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

FIRST_ID, LAST_ID = 300, 40_000
"""Ids that are words in every vocabulary here but that of *micro*."""
ENDLESS = 4000
PIECE = b'"text":"'
NO_TEXT = b'"text":""'
TIMEOUT_S = 600


def some_tokens(count: int, seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.randrange(FIRST_ID, LAST_ID) for _ in range(count)]


class Stream(threading.Thread):
    """One streaming completion: `times` has that of the request, then that of each piece of text."""

    def __init__(self, port: int, model: str, prompt: list[int], tokens: int):
        super().__init__(daemon=True)
        self._port = port
        body = {"model": model, "prompt": prompt, "max_tokens": tokens, "stream": True, "ignore_eos": True}
        self._data = json.dumps(body | {"temperature": 0.8, "seed": 1}).encode()
        self._stopped = threading.Event()
        self.times: list[float] = []
        self.error = ""
        self.start()

    def run(self) -> None:
        head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close"
        begin = f"{head}\r\nContent-Length: {len(self._data)}\r\n\r\n".encode()
        whole = bytearray()
        with socket.create_connection(("127.0.0.1", self._port), TIMEOUT_S) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.times.append(time.perf_counter())
            connection.sendall(begin + self._data)
            while (piece := connection.recv(1 << 16)) and not self._stopped.is_set():
                whole += piece
                if PIECE in piece:
                    self.times.append(time.perf_counter())
        if b" 200 " not in whole[:20] or b'"error"' in whole:
            self.error = f"a request failed: {bytes(whole[-300:])!r}"

    def wait(self) -> Stream:
        """Wait for the end; raise `RuntimeError` if it failed, or brought no text."""
        self.join()
        if self.error or len(self.times) < 2:
            raise RuntimeError(self.error or "a stream brought no text")
        return self

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def await_pieces(self, count: int) -> None:
        while self.is_alive() and len(self.times) <= count:
            time.sleep(0.005)
        if len(self.times) <= count:
            self.wait()

    @property
    def first_s(self) -> float:
        return self.times[1] - self.times[0]

    @property
    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(self.times[1:])]


def first_token_s(port: int, model: str, prompt: list[int]) -> float:
    return Stream(port, model, prompt, 2).wait().first_s


def ask(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a request that does not stream; raise `RuntimeError` unless it is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path} was answered with {answer.status}: {data[:300]!r}")
    result: dict[str, Any] = json.loads(data)
    return result


def seconds_of(calls: Sequence[Callable[[], Any]], clients: int) -> float:
    """Run all calls, that many at a time, and return how long it took."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(call) for call in calls]:
            done.result()
    return time.perf_counter() - begun
