"""`python -m benchmarks.beside`: a long prompt beside a running stream, and the second turn of a long chat.

Prompts are token ids, so that their length is exact. Ours alone: what it promises is relative to its own idle self.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.models import prepared
from tests.support.server import Server

IDLE_TOKENS, ENDLESS, QUESTION = 128, 8000, 24
CONTEXT_BESIDE = 64


def stream(port: int, prompt: list[int], tokens: int, times: list[float], stop: threading.Event | None = None) -> None:
    """Generate, and note the time of the request, then that of each piece of text; until told to stop."""
    body: dict[str, Any] = {"model": "long", "prompt": prompt, "max_tokens": tokens, "stream": True}
    data = json.dumps(body | {"ignore_eos": True, "temperature": 0.8, "seed": 1}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times.append(time.perf_counter())
        connection.sendall(f"{head}\r\nConnection: close\r\n\r\n".encode() + data)
        whole = bytearray()
        while (piece := connection.recv(1 << 16)) and not (stop and stop.is_set()):
            whole += piece
            if b'"text":' in piece:
                times.append(time.perf_counter())
    if b" 200 " not in whole[:20] or b'"error"' in whole:
        raise SystemExit(f"a request failed: {bytes(whole[-500:])!r}")


def first_token_s(port: int, prompt: list[int]) -> float:
    times: list[float] = []
    stream(port, prompt, 1, times)
    return times[1] - times[0]


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def measure(port: int, prompt_tokens: int) -> list[tuple[str, str, str]]:
    """Give lines of what was measured: a title, the figure, and the aim with whether it is reached."""
    rng = random.Random(1)
    first, other, short = ([rng.randrange(300, 90_000) for _ in range(n)] for n in (prompt_tokens, prompt_tokens, 20))
    times: list[float] = []
    stream(port, short, IDLE_TOKENS, times)
    idle = statistics.median(gaps(times[1:]))
    alone = first_token_s(port, first)
    again = first_token_s(port, first + short[:QUESTION])

    times, stop = [], threading.Event()
    thread = threading.Thread(target=stream, args=(port, short, ENDLESS, times, stop))
    thread.start()
    while len(times) < 8:
        time.sleep(0.01)
    begun = time.perf_counter()
    beside = first_token_s(port, other)
    during = sorted(gaps([at for at in times if begun <= at <= begun + beside]))
    stop.set()
    thread.join()
    p99, longest, loss = during[int(0.99 * len(during))], during[-1], 1 - alone / beside
    return [
        ("gap of an idle stream, p50", f"{1e3 * idle:.0f} ms", ""),
        (f"beside a prompt of {prompt_tokens} tokens, p50", f"{1e3 * statistics.median(during):.0f} ms", ""),
        ("  p99", f"{1e3 * p99:.0f} ms", _aim(p99 <= min(5 * idle, 0.5), "≤ 5 × idle, < 500 ms")),
        ("  p99 / idle", f"{p99 / idle:.1f}", ""),
        ("  longest", f"{1e3 * longest:.0f} ms", ""),
        ("  prompt slower by", f"{100 * loss:.0f} %", _aim(loss <= 0.15, "≤ 15 %")),
        (f"chat of {prompt_tokens} tokens, first turn", f"{1e3 * alone:.0f} ms", ""),
        ("  second turn", f"{1e3 * again:.0f} ms", ""),
        ("  second / first", f"{100 * again / alone:.1f} %", _aim(again <= 0.2 * alone, "≤ 20 %")),
    ]


def _aim(is_reached: bool, aim: str) -> str:
    return f"{aim} {'reached' if is_reached else 'missed'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--prompt-tokens", type=int, default=2048)
    parser.add_argument("--models", type=Path, help="a folder that keeps the models for the next time")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        file = prepared(asked.models or Path(scratch), "wide")
        folder = Path(scratch) / "configurations"
        folder.mkdir()
        (folder / "wide.gguf").symlink_to(file)
        (folder / "long.yaml").write_text(
            f"name: long\nparameters: {{model: wide.gguf}}\nthreads: {asked.threads}\n"
            f"context_size: {max(asked.prompt_tokens, ENDLESS) + 4 * CONTEXT_BESIDE}\n"
            f"options: ['parallel:2', 'threads_batch:{asked.threads}']\n"
        )
        with Server(folder, Path(scratch), LOCALAI_LOAD_TO_MEMORY="long") as server:
            for title, figure, aim in measure(server.port, asked.prompt_tokens):
                print(f"{title:38} {figure:>9}  {aim}", flush=True)


if __name__ == "__main__":
    main()
