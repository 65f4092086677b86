"""`python -m benchmarks.threads`: tokens per second while the web tier is busy, by wait policy and number of threads.

*before* is what the library does by itself: as many threads as cores, which wait by spinning. *after* is what this
server does: as many threads as a measurement at load found useful, which spin for a while or sleep at once, whichever
is the faster. Beside the streams, clients ask for the list of models as fast as they are answered.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.cost import MODELS, measure
from tests.support.gguf_models import random_llama
from tests.support.server import Server

CLIENTS = 4
CASES = {
    "before": {"OMP_WAIT_POLICY": "active", "LOCALAI_THREADS": str(os.cpu_count())},
    "passive waiting alone": {"OMP_WAIT_POLICY": "passive", "LOCALAI_THREADS": str(os.cpu_count())},
    "after": {},
}


def be_busy(port: int) -> None:
    """Ask for the list of models, again and again, on one connection; print how often per second when ended."""
    request = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    count, begun = 0, time.perf_counter()
    connection = socket.create_connection(("127.0.0.1", port))
    while not select.select([0], [], [], 0)[0]:  # whoever started this process closes its input to end it
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer or not _is_whole(answer):
            answer += connection.recv(1 << 16)
        count += 1
    print(count / (time.perf_counter() - begun))


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return bool(lengths) and len(body) >= int(lengths[0].split(b":")[1])


def rate(port: int, model: str, streams: int, tokens: int) -> float:
    """Tokens per second of this many streams."""
    shape = ("--streams", str(streams), "--tokens", str(tokens), "--repeat", "1")
    result = measure("load", str(port), "--model", model, *shape)
    return float(result["tokens"]) / min(result["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--case", action="append", choices=CASES, help="one of the cases; all if not given")
    parser.add_argument("--model", action="append", choices=MODELS, help="one of the models; all if not given")
    arguments = parser.parse_args()
    print("| | model | streams | web tier idle | web tier busy | requests/s beside it |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        models = arguments.model or list(MODELS)
        for model in models:
            random_llama(folder / f"{model}.gguf", **MODELS[model])
        for name in arguments.case or CASES:
            with Server(folder, Path(scratch), **CASES[name]) as server:
                for model in models:
                    for streams in (1, 8):
                        report(server.port, name, model, streams, arguments)


def report(port: int, name: str, model: str, streams: int, arguments: argparse.Namespace) -> None:
    """Measure without and with the busy clients in turns, and print a row of the medians."""
    rate(port, model, streams, 8)
    idle, busy, web = [], [], []
    for _ in range(arguments.rounds):
        idle.append(rate(port, model, streams, arguments.tokens))
        command = [sys.executable, "-m", "benchmarks.threads", "--busy", str(port)]
        clients = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)
        ]
        busy.append(rate(port, model, streams, arguments.tokens))
        web.append(sum(float(client.communicate()[0]) for client in clients))
    idle_rate, busy_rate, web_rate = (statistics.median(each) for each in (idle, busy, web))
    print(
        f"| {name} | {model} | {streams} | {idle_rate:,.0f} t/s | {busy_rate:,.0f} t/s | {web_rate:,.0f} |", flush=True
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--busy"]:
        be_busy(int(sys.argv[2]))
    else:
        main()
