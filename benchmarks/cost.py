"""`python -m benchmarks.cost`: the server beside the bare decode loop on the same model and threads, in one run.

Each figure is the median over rounds in which the two take turns, so that a machine whose speed drifts changes both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.support.gguf_models import random_llama
from tests.support.server import Server

ROUNDS = 5
MODELS = {"micro": {"layers": 2, "width": 64}, "medium": {"layers": 24, "width": 512}}


def measure(module: str, *arguments: str) -> dict[str, Any]:
    """Run one of the two sides as a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def rates(
    server: Server, folder: Path, model: str, streams: int, tokens: int, threads: int
) -> tuple[float, float, float]:
    """The median seconds per token of server and bare loop, and the median of their ratio round by round."""
    shape = ("--streams", str(streams), "--tokens", str(tokens), "--repeat", "2")
    ours, bare = [], []
    for _ in range(ROUNDS):
        served = measure("load", str(server.port), "--model", model, *shape)
        looped = measure("bare", str(folder / f"{model}.gguf"), "--threads", str(threads), *shape)
        ours.append(min(served["seconds"]) / served["tokens"])
        bare.append(min(looped["seconds"]) / looped["tokens"])
    ratio = statistics.median(b / o for o, b in zip(ours, bare, strict=True))
    return statistics.median(ours), statistics.median(bare), ratio


def single(server: Server, folder: Path, model: str, threads: int) -> tuple[float, float]:
    """The median seconds of a whole one-token request, through the server and in the bare loop."""
    ours, bare = [], []
    for _ in range(ROUNDS):
        ours += measure("load", str(server.port), "--model", model, "--single", "--repeat", "60")["seconds"]
        path = str(folder / f"{model}.gguf")
        bare += measure("bare", path, "--threads", str(threads), "--tokens", "1", "--repeat", "60")["seconds"]
    return statistics.median(ours), statistics.median(bare)


def memory_mb(pid: int) -> float:
    """A process's resident memory, without what it shares unchanged with its siblings counted twice."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no Pss for process {pid}")


def prepare(folder: Path, threads: int) -> None:
    for name, shape in MODELS.items():
        random_llama(folder / f"{name}.gguf", **shape)
        (folder / f"{name}.yaml").write_text(
            f"name: {name}\nparameters: {{model: {name}.gguf}}\nthreads: {threads}\n"
            f"context_size: 1024\noptions: ['parallel:8', 'threads_batch:{threads}']\n"
        )


def main() -> None:
    cores = os.cpu_count() or 1
    print(f"{cores} cores; medians of {ROUNDS} rounds, the two sides taking turns\n")
    for threads in sorted({1, cores}):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "models"
            folder.mkdir()
            prepare(folder, threads)
            with Server(folder, Path(scratch), LOCALAI_LOAD_TO_MEMORY="micro,medium") as server:
                report(server, folder, threads)


def report(server: Server, folder: Path, threads: int) -> None:
    print(f"threads {threads}: model, streams   server      bare loop   server/bare")
    for model, tokens in (("medium", 128), ("micro", 512)):
        for streams in (1, 8):
            ours, bare, ratio = rates(server, folder, model, streams, tokens, threads)
            cost = f"   the server's own: {1e6 * (ours - bare):.0f} µs per token" if model == "micro" else ""
            speeds = f"{1 / ours:7.0f} t/s {1 / bare:7.0f} t/s   {ratio:.3f}"
            print(f"           {model:7} {streams:7}   {speeds}{cost}", flush=True)
    ours, bare = single(server, folder, "micro", threads)
    whole, engine, above = (f"{1e3 * seconds:.2f} ms" for seconds in (ours, bare, ours - bare))
    print(f"           one-token request on micro: {whole}, of which the engine {engine}; above it {above}")
    sizes = ", ".join(f"{memory_mb(pid):.0f} MB" for pid in server.web_workers())
    print(f"           web workers: {sizes}\n", flush=True)


if __name__ == "__main__":
    main()
