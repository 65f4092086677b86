"""The README's examples, run as they stand there; what they print is what stands behind them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import Server

README = (Path(__file__).parents[2] / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
CURLS = re.findall(r"```sh\ncurl (http\S+) .*? -d '(\{.*?\})'\n```\n\n```json\n(.*?)\n```", README, re.DOTALL)
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize(("url", "body", "shown"), CURLS, ids=[curl[0] for curl in CURLS])
def test_a_curl_answers_as_shown(server: Server, url: str, body: str, shown: str) -> None:
    status, answer = server.post(url.removeprefix(ADDRESS), json.loads(body))
    assert status == 200
    (choice,) = answer["choices"]
    if (
        "message" in choice
    ):  # longer texts may differ in a word from machine to machine, as processors round differently
        assert json.dumps(choice["message"]["content"]) in shown
    assert f'"finish_reason":"{choice["finish_reason"]}"' in shown
    assert f'"prompt_tokens":{answer["usage"]["prompt_tokens"]},' in shown


@pytest.mark.parametrize(("code", "shown"), EXAMPLES, ids=["openai", "others"])
def test_a_python_example_prints_what_is_shown(server: Server, code: str, shown: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code.replace(ADDRESS, server.url)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == shown, done.stderr


def test_every_example_is_found() -> None:
    assert len(CURLS) == README.count("```json") and len(EXAMPLES) == README.count("```python")
