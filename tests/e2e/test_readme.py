"""The README's examples, run as they stand there; what they print is what stands behind them.

Those that name the toy are about it, all others about the model that `make serve` fetches.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.real_models import fetch_smollm2
from tests.support.server import Server

pytestmark = pytest.mark.timeout(600)  # the models may have to be fetched first

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "http://127.0.0.1:8080"
CURLS = re.findall(r"```sh\ncurl (http\S+) .*? -d '(\{.*?\})'\n```\n\n```json\n(.*?)\n```", README, re.DOTALL)
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", README, re.DOTALL)


TOY = "demo"


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """What `make serve` starts, where the model was fetched before."""
    scratch = tmp_path_factory.mktemp("starter")
    folder = scratch / "data/localai-flask/models"
    folder.mkdir(parents=True)
    file = fetch_smollm2()
    (folder / file.name).symlink_to(file)
    server = Server(None, scratch, XDG_DATA_HOME=str(scratch / "data"))
    server.arguments = ["--starter"]
    with server:
        yield server


@pytest.fixture
def shown_server(request: pytest.FixtureRequest, example: str) -> Server:
    found: Server = request.getfixturevalue("server" if TOY in example else "starter")
    return found


@pytest.mark.parametrize(("example", "url", "shown"), [(body, url, shown) for url, body, shown in CURLS])
def test_a_curl_answers_as_shown(shown_server: Server, example: str, url: str, shown: str) -> None:
    status, answer = shown_server.post(url.removeprefix(ADDRESS), json.loads(example))
    assert status == 200
    (choice,) = answer["choices"]
    if (
        "message" in choice
    ):  # longer texts may differ in a word from machine to machine, as processors round differently
        assert json.dumps(choice["message"]["content"]) in shown
    assert f'"model":"{answer["model"]}"' in shown
    assert f'"finish_reason":"{choice["finish_reason"]}"' in shown
    assert f'"prompt_tokens":{answer["usage"]["prompt_tokens"]},' in shown


@pytest.mark.parametrize(("example", "shown"), EXAMPLES, ids=["openai", "others", "toy"])
def test_a_python_example_prints_what_is_shown(shown_server: Server, example: str, shown: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", example.replace(ADDRESS, shown_server.url)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == shown, done.stderr


def test_the_picture_shows_what_comes(starter: Server) -> None:
    drawing = ElementTree.parse(ROOT / "docs/images/first-run.svg").getroot()
    lines = ["".join(line.itertext()) for line in drawing.iter("{http://www.w3.org/2000/svg}text")]
    typed, shown = "\n".join(lines).split(".choices[0].message'\n")
    (body,) = re.findall(r"-d '(.*)'", typed)
    status, answer = starter.post("/v1/chat/completions", json.loads(body))
    assert status == 200
    assert answer["choices"][0]["message"] == json.loads(shown)


def test_every_example_is_found() -> None:
    assert len(CURLS) == README.count("```json") and len(EXAMPLES) == README.count("```python")
