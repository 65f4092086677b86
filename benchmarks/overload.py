"""More requests than there is room for, and many streams at once, on the echo engine; prints what was counted.

`python -m benchmarks.overload [--requests 1000] [--queue 64] [--streams 256] [--seconds 60]`
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cost import memory_mb
from tests.support.server import Server

SLOTS = 4
READ_EVERY = 20
"""Requests between two looks at the answers that have come meanwhile."""
PATHS: dict[str, Callable[[str], dict[str, Any]]] = {
    "/v1/chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
    "/v1/messages": lambda text: {"messages": [{"role": "user", "content": text}], "max_tokens": 90_000},
    "/v1/responses": lambda text: {"input": text, "store": False},
}


class Answer:
    """One request's answer as it comes."""

    def __init__(self) -> None:
        self.begun = self.first = 0.0
        self.data = bytearray()

    @property
    def status(self) -> int:
        return int(self.data[9:12] or b"0")

    @property
    def retry_after(self) -> int:
        head = self.data.partition(b"\r\n\r\n")[0].lower()
        return int(head.partition(b"retry-after: ")[2].partition(b"\r\n")[0] or 0)


def request(path: str, model: str, script: dict[str, object]) -> bytes:
    body = PATHS[path](json.dumps(script))
    data = json.dumps({"model": model, "stream": True, **body}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Clients:
    """Sends requests at once, each on its own connection, and follows their answers in one thread."""

    def __init__(self, port: int, requests: list[bytes]):
        self._selector = selectors.DefaultSelector()
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in requests]
        self.answers = [Answer() for _ in requests]
        for number, (connection, answer, data) in enumerate(zip(self.sockets, self.answers, requests, strict=True)):
            answer.begun = time.perf_counter()
            connection.sendall(data)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ, answer)
            if number % READ_EVERY == 0:  # an answer has come when it has come, and not when all have been asked
                for key, _ in self._selector.select(0):
                    self._read(key)

    def follow(self, seconds: float, until_all_began: bool = False) -> None:
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            if until_all_began and all(answer.first for answer in self.answers):
                return
            for key, _ in self._selector.select(0.05):
                self._read(key)

    def _read(self, key: selectors.SelectorKey) -> None:
        answer: Answer = key.data
        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
        if not data:
            self._selector.unregister(key.fileobj)
        elif not answer.first:
            answer.first = time.perf_counter()
        if len(answer.data) < 4096:
            answer.data += data

    def close(self) -> None:
        self._selector.close()
        for connection in self.sockets:
            connection.close()


class Prober(threading.Thread):
    """Asks again and again for what is to answer at any time."""

    def __init__(self, port: int):
        super().__init__(daemon=True)
        self._port = port
        self._is_over = threading.Event()
        self.longest: dict[str, float] = {}

    def run(self) -> None:
        while not self._is_over.wait(0.1):
            for path in ("/healthz", "/readyz", "/v1/models", "/metrics"):
                begun = time.perf_counter()
                with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
                    connection.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
                    while connection.recv(1 << 16):
                        pass
                self.longest[path] = max(self.longest.get(path, 0.0), time.perf_counter() - begun)

    def stop(self) -> str:
        self._is_over.set()
        self.join()
        return ", ".join(f"{path} {1000 * seconds:.0f} ms" for path, seconds in self.longest.items())


def memory(server: Server) -> float:
    return sum(map(memory_mb, [*server.web_workers(), *server.model_workers()]))


def processor_s(server: Server) -> float:
    """How much processor time the web workers have had."""
    fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in server.web_workers()]
    return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")


def flood(server: Server, count: int, promised: int) -> None:
    script = {"say": "abc", "stall_after": 1}
    paths = list(PATHS)
    before, spent = memory(server), processor_s(server)
    clients = Clients(server.port, [request(paths[n % 3], "four", script) for n in range(count)])
    clients.follow(60, until_all_began=True)
    refused = [answer for answer in clients.answers if answer.status == 503]
    taken = [answer for answer in clients.answers if answer.status == 200]
    waits = sorted(1000 * (answer.first - answer.begun) for answer in refused)
    print(f"{count} at once, {promised} promised: {len(taken)} taken, {len(refused)} refused with 503")
    print(f"  Retry-After: {min(a.retry_after for a in refused)} to {max(a.retry_after for a in refused)} s")
    print(
        f"  refused after {statistics.median(waits):.0f} ms at the median, {waits[int(0.99 * len(waits))]:.0f} ms p99"
    )
    print(f"  the web workers took {processor_s(server) - spent:.2f} s of processor time for it")
    prober = Prober(server.port)
    prober.start()
    late = []
    for _ in range(20):
        extra = Clients(server.port, [request(paths[0], "four", script)])
        extra.follow(10, until_all_began=True)
        late.append(1000 * (extra.answers[0].first - extra.answers[0].begun))
        extra.close()
        clients.follow(0.1)
    print(f"  one more, when all is taken: refused after {max(late):.0f} ms at most; {prober.stop()} at most")
    print(f"  memory: {before:.0f} MB before, {memory(server):.0f} MB meanwhile", end="", flush=True)
    clients.close()
    time.sleep(2)
    print(f", {memory(server):.0f} MB afterwards", flush=True)


def hold(server: Server, count: int, seconds: float) -> None:
    script = {"say": "x" * int(5 * seconds), "pace_ms": 200}
    clients = Clients(server.port, [request("/v1/chat/completions", "many", script) for _ in range(count)])
    prober = Prober(server.port)
    prober.start()
    clients.follow(seconds)
    alive = [answer for answer in clients.answers if answer.status == 200]
    said = prober.stop()
    print(f"{count} streams for {seconds:.0f} s: {len(alive)} ran; {said} at most; {memory(server):.0f} MB", flush=True)
    clients.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        for name, slots in (("four", SLOTS), ("many", given.streams)):
            yaml = f"name: {name}\nbackend: echo\ncontext_size: 100000\noptions: [scripted, 'slots:{slots}']\n"
            (folder / f"{name}.yaml").write_text(yaml)
        settings = {"LOCALAI_QUEUE_SIZE": str(given.queue), "LOCALAI_LOAD_TO_MEMORY": "four,many"}
        with Server(folder, Path(scratch), **settings) as server:
            flood(server, given.requests, SLOTS + given.queue)
            hold(server, given.streams, given.seconds)


if __name__ == "__main__":
    main()
