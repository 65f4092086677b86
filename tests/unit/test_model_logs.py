"""One log per model: who writes to it, what is read of it, and that it stays short."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localai_flask.pool import model_logs
from localai_flask.pool.model_logs import ModelLogs

LOGGED = "[2026-11-26 17:20:12,520] [7] [INFO] demo is ready"


@pytest.fixture
def logs(tmp_path: Path) -> ModelLogs:
    return ModelLogs(tmp_path)


def write(logs: ModelLogs, model: str, *lines: str) -> None:
    with logs.open(model) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def test_the_last_lines_of_all_that_write(logs: ModelLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    assert logs.read("demo", 10) == [] and logs.names() == []
    write(logs, "demo", "one", LOGGED)
    write(logs, "demo", "ggml: two", "", "three " + "x" * 10_000)
    first, second, third, fourth = logs.read("demo", 10)
    assert (first.text, second.text, third.text) == ("one", LOGGED, "ggml: two")
    assert first.timestamp == "" and second.timestamp == third.timestamp == "2026-11-26T17:20:12.520Z"
    assert len(fourth.text) == model_logs.LONGEST_LINE
    assert [line.text[:5] for line in logs.read("demo", 2)] == ["ggml:", "three"]
    logs.clear("demo")
    assert logs.read("demo", 10) == []


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b c.gguf", "é" * 200, "..", "%2F"])
def test_any_name_is_a_file_of_the_folder(logs: ModelLogs, tmp_path: Path, name: str) -> None:
    write(logs, name, "said")
    assert [line.text for line in logs.read(name, 1)] == ["said"]
    (path,) = (tmp_path / "logs").iterdir()
    assert path == logs.path(name) and (len(name) > 100 or logs.names() == [name])


def test_logs_are_kept_short_and_few(logs: ModelLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_logs, "MOST_BYTES", 2000)
    monkeypatch.setattr(model_logs, "KEPT_BYTES", 500)
    monkeypatch.setattr(model_logs, "MOST_FILES", 3)
    writer = logs.open("demo")
    for number in range(100):
        writer.write(f"line {number:020}\n".encode())
    for number in range(4):
        write(logs, f"other-{number}", "x")
        os.utime(logs.path(f"other-{number}"), (number, number))
    logs.bound()
    writer.write(b"and on\n")
    writer.close()
    assert logs.names() == ["demo", "other-2", "other-3"]
    assert logs.path("demo").stat().st_size < 600
    lines = [line.text for line in logs.read("demo", 1000)]
    assert lines[-2:] == [f"line {99:020}", "and on"] and all(len(line) == 25 for line in lines[:-1])
