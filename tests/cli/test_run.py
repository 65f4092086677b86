"""`run`: which words are models, and what is done about them on a running server."""

from __future__ import annotations

import pytest

from localai_flask.cli.run.words import divide
from tests.cli.conftest import FakeServer, run

JOB = {"model": "new", "processed": True, "files": ["new.gguf"]}


@pytest.mark.parametrize(
    ("words", "models", "prompt"),
    [
        (["a"], ["a"], ""),
        (["anything", "Hello"], ["anything"], "Hello"),
        (["a", "b", "Why is it so?"], ["a", "b"], "Why is it so?"),
        (["a", "why", "is", "a", "b"], ["a"], "why is a b"),
        (["a", "owner/repo", "ollama://qwen3:4b", "Hi"], ["a", "owner/repo", "ollama://qwen3:4b"], "Hi"),
        (["a", "true and/or false"], ["a"], "true and/or false"),
    ],
)
def test_words(words: list[str], models: list[str], prompt: str) -> None:
    assert divide(words, {"a", "b"}) == (models, prompt)


def test_a_running_server_gets_what_it_has_not(fake: FakeServer) -> None:
    fake.answers["POST /models/apply"] = (200, {"uuid": "one"})
    fake.answers["GET /models/jobs/one"] = (200, JOB)
    fake.say("Hello.")
    assert run("run", "owner/new", "Hi", "there").stdout == "Hello.\n"
    assert ("POST /models/apply", {"id": "owner/new"}) in fake.asked
    [asked] = fake.chats
    assert (asked["model"], asked["messages"][0]["content"]) == ("new", "Hi there")


def test_without_a_question_and_a_terminal_models_are_loaded(fake: FakeServer) -> None:
    fake.answers["POST /backend/load"] = (200, {"loaded": ["small"]})
    result = run("run", "small", "warm")
    assert result.exit_code == 0, result.output
    assert [body for what, body in fake.asked if what == "POST /backend/load"] == [
        {"model": "small"},
        {"model": "warm"},
    ]


def test_a_server_that_is_named_has_to_run() -> None:
    assert run("run", "small", "--url", "http://127.0.0.1:1").exit_code == 3
