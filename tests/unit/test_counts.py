"""Counts outlive the processes that count, files do not pile up, and the page is what scrapers read."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import parser
from prometheus_client.openmetrics import parser as openmetrics_parser

from localai_flask.metrics import families as f
from localai_flask.metrics.counts import FOLDER, Counts
from localai_flask.metrics.exposition import Page, read_folder
from localai_flask.metrics.families import FAMILIES

LABELS = ("demo", "0")
OF_PROMETHEUS_2 = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
OF_PROMETHEUS_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3"
COUNTING = """
import os, signal, sys
from pathlib import Path
from localai_flask.metrics import families as f
from localai_flask.metrics.counts import Counts
counts = Counts.open(Path(sys.argv[1]))
for number in range(1000):
    counts.add(f.PROMPT_TOKENS, ("demo", "0"), 3)
    counts.observe(f.LATENCY, (f"model-{number % 50}", "0"), number / 100)
counts.add(f.OPEN_STREAMS, (), 7)
os.kill(os.getpid(), signal.SIGKILL)
"""


def samples(runtime: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """The page of a runtime directory, as Prometheus reads it."""
    page = Page()
    read_folder(page, runtime)
    text = page.render("")[0].decode()
    found = (sample for family in parser.text_string_to_metric_families(text) for sample in family.samples)
    return {(each.name, tuple(sorted(each.labels.items()))): each.value for each in found}


def of_demo(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted({"model_name": "demo", "engine": "0", **labels}.items()))


def test_counts_of_killed_processes_add_up_in_one_file(tmp_path: Path) -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", COUNTING, str(tmp_path)], timeout=30)
        assert done.returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["0.counts"]
    seen = samples(tmp_path)
    assert seen[of_demo("vllm:prompt_tokens_total")] == 9000
    assert sum(value for (name, _), value in seen.items() if name == "vllm:e2e_request_latency_seconds_count") == 3000
    assert ("localai_flask_open_streams", ()) not in seen, "the streams of the dead are not open"


def test_each_living_process_has_its_own_file_and_its_successor_goes_on(tmp_path: Path) -> None:
    first, second = Counts.open(tmp_path), Counts.open(tmp_path)
    first.add(f.PROMPT_TOKENS, LABELS, 5)
    second.add(f.PROMPT_TOKENS, LABELS, 7)
    first.set(f.OPEN_STREAMS, (), 2)
    second.add(f.OPEN_STREAMS, (), 3)
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
    seen = samples(tmp_path)
    assert seen[of_demo("vllm:prompt_tokens_total")] == 12 and seen["localai_flask_open_streams", ()] == 5
    assert first._file is not None
    fcntl.flock(first._file._descriptor, fcntl.LOCK_UN)  # as the kernel does when the process ends
    successor = Counts.open(tmp_path)
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
    successor.add(f.PROMPT_TOKENS, LABELS, 1)
    seen = samples(tmp_path)
    assert seen[of_demo("vllm:prompt_tokens_total")] == 13 and seen["localai_flask_open_streams", ()] == 3


def test_a_histogram_counts_each_value_in_its_bucket(tmp_path: Path) -> None:
    counts = Counts.open(tmp_path)
    for value, times in ((0.3, 1), (0.31, 2), (7680.0, 1), (9000.0, 1)):
        counts.observe(f.LATENCY, LABELS, value, times)
    seen = samples(tmp_path)
    name = "vllm:e2e_request_latency_seconds"
    below = {le: seen[of_demo(f"{name}_bucket", le=le)] for le in ("0.3", "0.5", "1920.0", "7680.0", "+Inf")}
    assert below == {"0.3": 1, "0.5": 3, "1920.0": 3, "7680.0": 4, "+Inf": 5}
    assert seen[of_demo(f"{name}_count")] == 5
    assert seen[of_demo(f"{name}_sum")] == pytest.approx(0.3 + 0.62 + 7680 + 9000)


def test_a_full_disk_costs_new_series_and_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counts.open(tmp_path)
    counts.add(f.PROMPT_TOKENS, LABELS)

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for number in range(2000):
        counts.observe(f.LATENCY, (f"model-{number}", "0"), 1)
    counts.add(f.PROMPT_TOKENS, LABELS)
    assert samples(tmp_path)[of_demo("vllm:prompt_tokens_total")] == 2
    alone = Counts.open(tmp_path)
    assert not alone.is_shared
    alone.add(f.PROMPT_TOKENS, LABELS)
    assert alone.blocks()[0].numbers == (1.0,)


def test_replicas_are_numbered(tmp_path: Path) -> None:
    for worker in ("b7", "a3"):
        Counts.open(tmp_path).set(f.RUNNING, ("demo", worker), 1 if worker == "a3" else 2)
    seen = samples(tmp_path)
    assert seen[of_demo("vllm:num_requests_running", engine="0")] == 1
    assert seen[of_demo("vllm:num_requests_running", engine="1")] == 2


def test_every_family_is_well_formed_in_both_formats() -> None:
    counts, page = Counts(), Page()
    for family in FAMILIES.values():
        values = tuple(f'{label} "\\\n' for label in family.labels)
        if family.kind == "histogram":
            counts.observe(family, values, 1.0)
        else:
            counts.add(family, values)
    page.add(counts.blocks())
    for family in FAMILIES.values():
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert family.help.endswith(".") and list(family.buckets) == sorted(set(family.buckets))
    plain, plain_type = page.render("*/*")
    openmetrics, openmetrics_type = page.render(OF_PROMETHEUS_2)
    assert page.render(OF_PROMETHEUS_3)[0] == openmetrics
    assert plain_type.startswith("text/plain") and openmetrics_type.startswith("application/openmetrics-text")
    read = list(parser.text_string_to_metric_families(plain.decode()))
    read_again = list(openmetrics_parser.text_string_to_metric_families(openmetrics.decode()))
    names = {family.name.removesuffix("_total") for family in FAMILIES.values()}
    assert {each.name.removesuffix("_total") for each in read} == names
    assert {each.name for each in read_again} == names
    labels = next(each.samples[0].labels for each in read if each.name == "vllm:prompt_tokens")
    assert labels == {label: f'{label} "\\\n' for label in ("model_name", "engine")}
