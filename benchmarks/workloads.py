"""What clients of such servers do, over raw sockets in one process, as cheap as Python allows; prints one line of JSON.

`python -m benchmarks.workloads 8080 --model wide --workload prefix --clients 8 --requests 32`

decode   chats with short prompts and answers of a fixed length
prefix   chats with one long system prompt in common
turns    two turns of one long chat; `first_token_ms` is of the second, `first_turn_ms` of the first
json     answers held to a JSON Schema
held     answers as long as those of decode, but held to a JSON string
embed    batches of texts to vectors
"""

from __future__ import annotations

import argparse
import json
import random
import selectors
import socket
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

WORDS = ("anchor", "birch", "canyon", "drift", "ember", "falcon", "glacier", "harvest", "inlet", "lantern", "marble")
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "age", "tags", "address"],
    "properties": {
        "name": {"type": "string", "maxLength": 24},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue", "black"]}, "minItems": 2, "maxItems": 4},
        "address": {
            "type": "object",
            "additionalProperties": False,
            "required": ["street", "code"],
            "properties": {
                "street": {"type": "string", "maxLength": 24},
                "code": {"type": "string", "pattern": "^[0-9]{5}$"},
            },
        },
    },
}
LONG_STRING = {"type": "string", "minLength": 4000}
TIMEOUT_S = 300


def words(count: int, rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(count))


def bodies(asked: argparse.Namespace) -> deque[tuple[str, dict[str, Any]]]:
    """The paths and bodies of all requests, new ones for each seed."""
    rng = random.Random(asked.seed)
    common = words(asked.prefix_words, random.Random(asked.seed + 1))
    requests: deque[tuple[str, dict[str, Any]]] = deque()
    for index in range(asked.requests):
        if asked.workload == "embed":
            texts = [words(asked.words, rng) for _ in range(asked.batch)]
            requests.append(("/v1/embeddings", {"model": asked.model, "input": texts}))
            continue
        messages = [{"role": "user", "content": words(asked.words, rng)}]
        if asked.workload == "prefix":
            messages.insert(0, {"role": "system", "content": common})
        body: dict[str, Any] = {"model": asked.model, "messages": messages, "max_tokens": asked.tokens}
        body |= {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.8, "seed": index}
        if asked.workload in ("json", "held"):
            schema = SCHEMA if asked.workload == "json" else LONG_STRING
            form = {"name": "person", "strict": True, "schema": schema}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        else:
            body["ignore_eos"] = True
        requests.append(("/v1/chat/completions", body))
    if asked.workload == "turns":
        first = requests[0][1] | {"messages": [{"role": "user", "content": common}]}
        more = [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and then"}]
        second = first | {"messages": first["messages"] + more}
        requests = deque([("/v1/chat/completions", first), ("/v1/chat/completions", second)])
    return requests


@dataclass
class Exchange:
    """One request and what came back."""

    connection: socket.socket
    begun: float = field(default_factory=time.perf_counter)
    first: float | None = None
    data: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls, port: int, path: str, body: dict[str, Any]) -> Exchange:
        data = json.dumps(body).encode()
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        exchange = cls(connection)
        connection.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        return exchange

    def receive(self) -> bool:
        """Take what has come; tell whether it was all."""
        data = self.connection.recv(1 << 18)
        self.data += data
        if self.first is None and (b'"content":"' in data or b'"embedding"' in data):
            self.first = time.perf_counter()
        return not data

    def usage(self) -> dict[str, Any]:
        """The usage that the server told; raise `SystemExit` if the request failed."""
        if b" 200 " not in self.data[:20]:
            raise SystemExit(f"a request failed: {bytes(self.data[:600])!r}")
        at = self.data.rfind(b'"usage":{')
        if at < 0:
            raise SystemExit(f"an answer has no usage: {bytes(self.data[-300:])!r}")
        usage: dict[str, Any] = json.JSONDecoder().raw_decode(self.data[at + 8 :].decode(errors="replace"))[0]
        return usage


def run(port: int, requests: deque[tuple[str, dict[str, Any]]], clients: int) -> tuple[list[Exchange], float]:
    """Send all requests, `clients` at a time; return them finished, and the seconds of the whole."""
    selector, done, begun = selectors.DefaultSelector(), [], time.perf_counter()

    def launch() -> None:
        if requests:
            exchange = Exchange.start(port, *requests.popleft())
            selector.register(exchange.connection, selectors.EVENT_READ, exchange)

    for _ in range(clients):
        launch()
    while selector.get_map():
        if time.perf_counter() - begun > TIMEOUT_S:
            raise SystemExit("the server took too long")
        for key, _ in selector.select(1.0):
            if key.data.receive():
                selector.unregister(key.fileobj)
                key.data.connection.close()
                done.append(key.data)
                launch()
    return done, time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--model", required=True)
    parser.add_argument("--workload", choices=("decode", "prefix", "turns", "json", "held", "embed"), default="decode")
    defaults = {"clients": 1, "requests": 4, "tokens": 64, "words": 20, "prefix_words": 250, "batch": 16, "seed": 1}
    for name, default in defaults.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    asked = parser.parse_args()
    done, seconds = run(asked.port, bodies(asked), asked.clients)
    used = [exchange.usage() for exchange in done]
    waits = [1e3 * (exchange.first - exchange.begun) for exchange in done if exchange.first is not None]
    result = {
        "tokens_per_s": sum(usage.get("completion_tokens", 0) for usage in used) / seconds,
        "prompt_tokens_per_s": sum(usage["prompt_tokens"] for usage in used) / seconds,
        "requests_per_s": len(done) / seconds,
        "first_token_ms": waits[-1] if asked.workload == "turns" else statistics.median(waits),
        "first_turn_ms": waits[0],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
