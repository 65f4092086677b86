"""`python -m benchmarks.peer`: this server beside llama.cpp's own `llama-server`, if one is on PATH, in one run.

Both serve the same file with the same threads, slots and context, and take turns on each workload; a figure is the
median of the ratios round by round, above 1 where ours is ahead.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.__main__ import memory_mb
from benchmarks.models import prepared
from tests.support import processes
from tests.support.server import Server, free_port

SLOTS, CONTEXT = 8, 2048


class Case(NamedTuple):
    """One line of the table: a workload's arguments, and the figure that is compared."""

    title: str
    arguments: str
    figure: str = "tokens_per_s"
    aim: float = 1.0
    is_time: bool = False
    rounds: int = 5


CASES = {
    "wide": [
        Case("decode, 1 stream", "--workload decode --clients 1 --requests 2", aim=0.97),
        Case("decode, 4 streams", "--workload decode --clients 4 --requests 4"),
        Case("decode, 8 streams", "--workload decode --clients 8 --requests 16"),
        Case(
            "time to first token", "--workload decode --requests 4 --tokens 2 --words 100", "first_token_ms", 1.1, True
        ),
        Case(
            "8 clients, common 1k prompt",
            "--workload prefix --clients 8 --requests 8 --tokens 4 --prefix-words 980",
            "requests_per_s",
            3.0,
            rounds=1,
        ),
        Case("JSON, 1 stream, t/s", "--workload json --requests 4 --tokens 128", aim=2.0),
        Case("JSON, 8 streams, t/s", "--workload json --clients 8 --requests 8 --tokens 128", aim=2.0),
        Case(
            "JSON, 8 streams, answers/s", "--workload json --clients 8 --requests 8 --tokens 128", "requests_per_s", 2.0
        ),
    ],
    "micro": [
        Case("decode, 1 stream", "--workload decode --clients 1 --requests 8 --tokens 256", aim=0.97),
        Case("decode, 8 streams", "--workload decode --clients 8 --requests 32 --tokens 256"),
    ],
    "embed": [Case("embeddings", "--workload embed --clients 2 --requests 6", "prompt_tokens_per_s")],
}


@contextmanager
def peer(binary: str, path: Path, threads: int, *more: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run `llama-server` on a free port of loopback."""
    port = free_port()
    shape = ("-np", str(SLOTS), "-c", str(SLOTS * CONTEXT), "-t", str(threads), "-tb", str(threads))
    command = [binary, "-m", str(path), "--host", "127.0.0.1", "--port", str(port), *shape, *more]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_ready(f"http://127.0.0.1:{port}/health", process)
        yield port, process
    finally:
        process.terminate()
        process.wait(20)


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise SystemExit("llama-server did not start")


def measure(port: int, model: str, case: Case, seed: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.workloads", str(port), "--model", model, "--seed", str(seed)]
    done = subprocess.run([*command, *case.arguments.split()], capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(ours: int, theirs: int, model: str, case: Case) -> str:
    """Let both take turns; give the table's line, also where the peer refuses what is asked."""
    rows = []
    for seed in range(1, case.rounds + 1):
        own = measure(ours, model, case, seed)[case.figure]
        try:
            rows.append((own, measure(theirs, model, case, seed)[case.figure]))
        except SystemExit as refusal:
            return f"{model:6} {case.title:28} {own:9.1f} {'-':>9} the peer failed: {str(refusal).strip()[-120:]}"
    ratio = statistics.median(own / other for own, other in rows)
    own, other = (statistics.median(column) for column in zip(*rows, strict=True))
    reached = ratio <= case.aim if case.is_time else ratio >= case.aim
    sign = "≤" if case.is_time else "≥"
    verdict = "reached" if reached else "missed"
    return f"{model:6} {case.title:28} {own:9.1f} {other:9.1f} {ratio:7.2f}  {sign} {case.aim} {verdict}"


def held(port: int, model: str, title: str, streams: int) -> str:
    """Compare ours with itself: the same number of tokens held to a form, and free."""
    rates: dict[str, list[float]] = {"held": [], "decode": []}
    for seed in range(1, 4):
        for workload, found in rates.items():
            case = Case("", f"--workload {workload} --clients {streams} --requests {streams}")
            found.append(measure(port, model, case, seed)[case.figure])
    ratio = statistics.median(a / b for a, b in zip(*rates.values(), strict=True))
    own, free = map(statistics.median, rates.values())
    verdict = "reached" if ratio >= 0.9 else "missed"
    return f"{model:6} {f'held to a form / free, {title}':28} {own:9.1f} {free:9.1f} {ratio:7.2f}  ≥ 0.9 {verdict}"


def total_mb(pids: list[int]) -> float:
    return sum(memory_mb(pid) for pid in pids)


def run(folder: Path, scratch: Path, binary: str, threads: int, only: str) -> None:
    names = [name for name in CASES if name != "embed"]
    print(f"{'model':6} {'workload':28} {'ours':>9} {'peer':>9} {'ratio':>7}  aim", flush=True)
    with Server(folder, scratch, LOCALAI_LOAD_TO_MEMORY=",".join(CASES)) as server:
        for name in CASES:
            file = folder / f"{name}.gguf"
            more = ("--embeddings", "--pooling", "mean", "-ub", "2048") if name == "embed" else ()
            cases = [case for case in CASES[name] if only in case.title]
            if not cases:
                continue
            with peer(binary, file, threads, *more) as (port, process):
                for case in cases:
                    print(compare(server.port, port, name, case), flush=True)
                if name == names[0]:
                    (worker,) = [pid for pid in server.model_workers() if _holds(pid, file)]
                    own, other = memory_mb(worker), memory_mb(process.pid)
                    print(f"{name:6} {'memory of the engine, MB':28} {own:9.0f} {other:9.0f} {own / other:7.2f}  ≤ 1.1")
            if name == names[0]:
                for title, streams in (("1 stream", 1), ("8 streams", 8)):
                    print(held(server.port, name, title, streams), flush=True)
        everything = total_mb(processes.belonging_to(server.runtime_dir()))
        print(f"all processes of this server, three models loaded: {everything:.0f} MB")


def _holds(pid: int, file: Path) -> bool:
    return str(file) in Path(f"/proc/{pid}/maps").read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--vocabulary", type=Path, help="a vocabulary-only GGUF for the wide model, such as llama.cpp's"
    )
    parser.add_argument("--models", type=Path, help="a folder that keeps the models for the next time")
    parser.add_argument("--only", default="", help="run the cases whose title has this in it")
    asked = parser.parse_args()
    binary = shutil.which("llama-server")
    if binary is None:
        print("There is no llama-server on PATH to compare with; build llama.cpp, and put its bin folder there.")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        for name in CASES:
            source = "wide" if name == "embed" else name
            # A copy for each, by which the process that holds it is found.
            path = prepared(asked.models or Path(scratch) / "made", source, asked.vocabulary)
            shutil.copyfile(path, folder / f"{name}.gguf")
        shared = f"threads: {asked.threads}\ncontext_size: {CONTEXT}\n"
        options = f"options: ['parallel:{SLOTS}', 'threads_batch:{asked.threads}'"
        for name in CASES:
            more = "embeddings: true\n" if name == "embed" else ""
            (folder / f"{name}.yaml").write_text(
                f"name: {name}\nparameters: {{model: {name}.gguf}}\n{shared}{more}{options}]\n"
            )
        run(folder, Path(scratch), binary, asked.threads, asked.only)


if __name__ == "__main__":
    main()
