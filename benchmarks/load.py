"""Load on a running server over raw sockets, as cheap for the client as Python allows; prints JSON.

`python -m benchmarks.load 8080 --model micro --streams 8 --tokens 128`: that many streaming completions at once.
`--single`: one after the other, not streaming, one token each.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import time
from typing import Any

PROMPT = [65 + i % 26 for i in range(32)]


def request(model: str, tokens: int, stream: bool) -> bytes:
    body: dict[str, Any] = {
        "model": model,
        "prompt": PROMPT,
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    body["stream"] = stream
    data = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    )
    return "\r\n".join((*head, "", "")).encode() + data


def together(port: int, model: str, streams: int, tokens: int) -> float:
    """Run streams at once; return seconds from the first request to the end of the last."""
    selector = selectors.DefaultSelector()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(streams)]
    begun = time.perf_counter()
    for connection in sockets:
        connection.sendall(request(model, tokens, stream=True))
        selector.register(connection, selectors.EVENT_READ, bytearray())
    while selector.get_map():
        for key, _ in selector.select():
            data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
            key.data.extend(data)
            if not data or key.data.endswith(b"\r\n0\r\n\r\n"):
                if not data or b"[DONE]" not in key.data or b'"error"' in key.data:
                    raise SystemExit(f"a stream failed: {bytes(key.data[-300:])!r}")
                selector.unregister(key.fileobj)
    seconds = time.perf_counter() - begun
    for connection in sockets:
        connection.close()
    return seconds


def one_by_one(port: int, model: str, count: int) -> list[float]:
    """Send one-token requests over one kept-alive connection; return the seconds of each."""
    seconds = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        data = request(model, 1, stream=False)
        for _ in range(count):
            begun = time.perf_counter()
            connection.sendall(data)
            answer = bytearray()
            while not _whole(answer):
                answer.extend(connection.recv(1 << 16))
            seconds.append(time.perf_counter() - begun)
            if b" 200 OK" not in answer[:20]:
                raise SystemExit(f"a request failed: {bytes(answer[:500])!r}")
    return seconds


def _whole(answer: bytearray) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--model", required=True)
    for name, default in (("streams", 1), ("tokens", 128), ("repeat", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--single", action="store_true")
    asked = parser.parse_args()
    if asked.single:
        seconds = one_by_one(asked.port, asked.model, asked.repeat)
    else:
        seconds = [together(asked.port, asked.model, asked.streams, asked.tokens) for _ in range(asked.repeat)]
    print(json.dumps({"seconds": seconds, "tokens": asked.streams * asked.tokens}))


if __name__ == "__main__":
    main()
