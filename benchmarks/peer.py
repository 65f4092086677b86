"""`python -m benchmarks.peer`: this server beside llama.cpp's own `llama-server`, if one is on PATH, in one run.

Both serve the same file and take turns on each workload; a figure is the median of the ratios round by round, above 1
where ours is ahead. The models with random weights run with the same threads, slots and context on both sides, SmolLM2
with what each side does by itself.
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
from benchmarks.models import fetched_smollm2, prepared
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
    busy: int = 0
    """Processes beside it that compute all the time."""


CASES = {
    "smollm2": [
        Case("decode, 1 stream", "--workload decode --clients 1 --requests 2 --tokens 128", aim=0.84),
        Case("decode, 4 streams", "--workload decode --clients 4 --requests 4 --tokens 128"),
        Case("decode, 8 streams", "--workload decode --clients 8 --requests 16"),
        Case("1 stream, 2 busy beside", "--workload decode --clients 1 --requests 1 --tokens 48", rounds=3, busy=2),
        Case("8 streams, 2 busy beside", "--workload decode --clients 8 --requests 8 --tokens 32", rounds=3, busy=2),
    ],
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


BY_DEFAULT = "smollm2"
"""The model that both sides serve as they do by themselves."""


@contextmanager
def peer(binary: str, path: Path, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run `llama-server` on a free port of loopback."""
    port = free_port()
    command = [binary, "-m", str(path), "--host", "127.0.0.1", "--port", str(port), *options]
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


def options_of(name: str, threads: int) -> tuple[str, ...]:
    """Return the options with which `llama-server` serves a model as ours does."""
    if name == BY_DEFAULT:
        return ()
    shape = ("-np", str(SLOTS), "-c", str(SLOTS * CONTEXT), "-t", str(threads), "-tb", str(threads))
    return (*shape, "--embeddings", "--pooling", "mean", "-ub", "2048") if name == "embed" else shape


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep that many processes computing, each in a session of its own, as other users' programs are."""
    command = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(command, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


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
            return f"{model:7} {case.title:28} {own:9.1f} {'-':>9} the peer failed: {str(refusal).strip()[-120:]}"
    ratio = statistics.median(own / other for own, other in rows)
    own, other = (statistics.median(column) for column in zip(*rows, strict=True))
    reached = ratio <= case.aim if case.is_time else ratio >= case.aim
    sign = "≤" if case.is_time else "≥"
    verdict = "reached" if reached else "missed"
    return f"{model:7} {case.title:28} {own:9.1f} {other:9.1f} {ratio:7.2f}  {sign} {case.aim} {verdict}"


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
    return f"{model:7} {f'held to a form / free, {title}':28} {own:9.1f} {free:9.1f} {ratio:7.2f}  ≥ 0.9 {verdict}"


def total_mb(pids: list[int]) -> float:
    return sum(memory_mb(pid) for pid in pids)


def run(folder: Path, scratch: Path, binary: str, threads: int, chosen: dict[str, list[Case]]) -> None:
    print(f"{'model':7} {'workload':28} {'ours':>9} {'peer':>9} {'ratio':>7}  aim", flush=True)
    with Server(folder, scratch, LOCALAI_LOAD_TO_MEMORY=",".join(chosen)) as server:
        for name, cases in chosen.items():
            file = folder / f"{name}.gguf"
            with peer(binary, file, *options_of(name, threads)) as (port, process):
                for case in cases:
                    with busy(case.busy):
                        print(compare(server.port, port, name, case), flush=True)
                if name == "wide":
                    (worker,) = [pid for pid in server.model_workers() if _holds(pid, file)]
                    own, other = memory_mb(worker), memory_mb(process.pid)
                    print(f"{name:7} {'memory of the engine, MB':28} {own:9.0f} {other:9.0f} {own / other:7.2f}  ≤ 1.1")
            if name == "wide":
                for title, streams in (("1 stream", 1), ("8 streams", 8)):
                    print(held(server.port, name, title, streams), flush=True)
        everything = total_mb(processes.belonging_to(server.runtime_dir()))
        print(f"all processes of this server, {len(chosen)} models loaded: {everything:.0f} MB")


def write_model(name: str, folder: Path, kept: Path, asked: argparse.Namespace) -> None:
    """Put a model and its YAML into our server's folder: a copy, by which the process that holds it is found."""
    file = folder / f"{name}.gguf"
    if name == BY_DEFAULT:
        shutil.copyfile(fetched_smollm2(kept), file)
        return
    shutil.copyfile(prepared(kept, "wide" if name == "embed" else name, asked.vocabulary), file)
    options = f"options: ['parallel:{SLOTS}', 'threads_batch:{asked.threads}']\n"
    more = "embeddings: true\n" if name == "embed" else ""
    shape = f"threads: {asked.threads}\ncontext_size: {CONTEXT}\n{options}{more}"
    (folder / f"{name}.yaml").write_text(f"name: {name}\nparameters: {{model: {name}.gguf}}\n{shape}")


def _holds(pid: int, file: Path) -> bool:
    return str(file) in Path(f"/proc/{pid}/maps").read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--vocabulary", type=Path, help="a vocabulary-only GGUF for the wide model, such as llama.cpp's"
    )
    parser.add_argument("--models", type=Path, help="a folder that keeps the models for the next time")
    parser.add_argument("--only", default="", help="run the cases whose model and title have this in them")
    asked = parser.parse_args()
    binary = shutil.which("llama-server")
    if binary is None:
        print("There is no llama-server on PATH to compare with; build llama.cpp, and put its bin folder there.")
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "models"
        folder.mkdir()
        chosen = {
            name: [case for case in cases if asked.only in f"{name} {case.title}"] for name, cases in CASES.items()
        }
        chosen = {name: cases for name, cases in chosen.items() if cases}
        for name in chosen:
            write_model(name, folder, asked.models or Path(scratch) / "made", asked)
        run(folder, Path(scratch), binary, asked.threads, chosen)


if __name__ == "__main__":
    main()
