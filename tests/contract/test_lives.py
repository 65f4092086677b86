"""A model's processes: killed, unloaded and loaded again, and those of models that cannot be loaded."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import openai
import pytest

from tests.contract.subject import LOAD_S, PROMPTS, WRITER, Subject
from tests.support import processes
from tests.support.processes import wait_for

SOON_S = 30
LONGEST_SENTENCE = 600
LOOP_S = 1


def is_alive(pid: int) -> bool:
    return processes.state(pid) not in ("", "Z")


def test_a_worker_killed_in_mid_stream(subject: Subject) -> None:
    subject.need_writing()
    before = subject.text(PROMPTS[1])
    with subject.complete(PROMPTS[0], max_tokens=subject.longest, stream=True) as stream:
        next(stream)
        family, (worker,) = subject.descendants(WRITER), subject.workers_of(WRITER)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(openai.APIError) as broken:
            list(stream)
    assert "died" in str(broken.value) or "ended" in str(broken.value), broken.value
    wait_for(lambda: not any(map(is_alive, family)), SOON_S, f"all of {family} have ended")
    assert subject.text(PROMPTS[1], timeout=LOAD_S) == before
    assert subject.workers_of(WRITER) != [worker]


def test_a_model_is_unloaded_and_loaded_again(subject: Subject) -> None:
    before = subject.text(PROMPTS[0])
    family = subject.descendants(WRITER)
    status, answer = subject.server.post("/backend/shutdown", {"model": WRITER})
    assert status == 200, answer
    wait_for(lambda: not any(map(is_alive, family)), SOON_S, f"all of {family} have ended")
    assert not subject.workers_of(WRITER)
    assert subject.text(PROMPTS[0], timeout=LOAD_S) == before


def largest_file(folder: Path) -> Path:
    return max((each for each in folder.rglob("*") if each.is_file()), key=lambda each: each.stat().st_size)


def truncate(folder: Path) -> None:
    file = largest_file(folder)
    os.truncate(file, file.stat().st_size // 2)


def replace(folder: Path) -> None:
    largest_file(folder).write_bytes(b"<html>not found</html>" * 100)


def remove(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [truncate, replace, remove], ids=lambda each: each.__name__)
def test_broken_files_are_one_sentence(subject: Subject, damage: Callable[[Path], None]) -> None:
    subject.need_writing()
    keys = subject.yaml_of(WRITER)
    name = f"broken-{damage.__name__}"
    shutil.copytree(subject.models / f"{WRITER}-files", subject.models / f"{name}-files")
    damage(subject.models / f"{name}-files")
    file = Path(keys["parameters"]["model"]).relative_to(f"{WRITER}-files")
    subject.write_yaml(name, subject.models / f"{name}-files", keys | {"parameters": {"model": str(file)}})
    status, answer = subject.failure(name)
    message = answer["error"]["message"]
    assert 400 <= status < 600 and status != 503, answer
    assert "\n" not in message and "Traceback" not in message and len(message) < LONGEST_SENTENCE
    wait_for(lambda: not subject.workers_of(name), SOON_S, "no worker is left")
    time.sleep(LOOP_S)
    assert not subject.workers_of(name), "a worker tries again and again"
    assert subject.failure(name)[1]["error"]["message"] == message
    assert subject.text(PROMPTS[0]), "other models go on"


def test_a_prompt_that_is_too_long(subject: Subject) -> None:
    limit = subject.context_length(WRITER)
    refused = subject.refusal(prompt="a b c d " * (limit // 2))
    assert refused["code"] == "context_length_exceeded"
    assert f"{limit} tokens" in refused["message"]
    _, tokens = subject.server.post(
        "/tokenize", {"model": WRITER, "content": "a b c d " * (limit // 2), "add_special": True}
    )
    assert str(len(tokens["tokens"])) in refused["message"]
