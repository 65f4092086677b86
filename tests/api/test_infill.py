"""The middle of a text, as llama.vim and llama.vscode ask for it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.chat.answer import Content, Enough
from localai_flask.chat.output.indentation import IndentedReader
from localai_flask.chat.output.reader import OutputReader
from localai_flask.errors import ContextOverflow
from localai_flask.generation import Delta, FinishReason
from tests.api.fakes import FakePool, frames, says

FROM_VIM = {
    "id_slot": 0,
    "input_prefix": "def add(a, b):\n",
    "input_suffix": "\n\nprint(add(1, 2))\n",
    "input_extra": [{"text": "x = 1\n", "time": [1, 2], "filename": "a.py"}, {"text": "y = 2\n"}],
    "prompt": "    ",
    "n_predict": 128,
    "stop": ["END"],
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.9,
    "stream": False,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": ["content", "timings/prompt_n", "truncated", "tokens_cached", "no/such"],
}


@pytest.fixture(autouse=True)
def _that_infills(pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "infill"}))


def test_a_request_of_an_editor(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("return ", "a + b\n", "    # done\n", "other = 1", prompt_tokens=9, cached=4)]
    answer = client.post("/infill", json=FROM_VIM)
    assert answer.get_json() == {
        "content": "return a + b\n    # done",
        "timings/prompt_n": 5,
        "truncated": False,
        "tokens_cached": 4,
    }
    prompt, sampling = pool.prompt, pool.sampling
    assert (prompt.text, prompt.suffix) == ("def add(a, b):\n    ", "\n\nprint(add(1, 2))\n")
    assert prompt.files == [("a.py", "x = 1\n"), ("tmp", "y = 2\n")]
    assert (sampling.max_tokens, sampling.top_k, sampling.t_max_predict_ms) == (128, 40, 1000)
    assert "infill" not in sampling.samplers


def test_a_stream_ends_with_the_counts(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("a", "b", reason=FinishReason.MAX_TOKENS)]
    answer = client.post("/infill", json={"input_prefix": "x", "stream": True})
    told = [json.loads(each.removeprefix("data: ")) for each in frames(answer.data) if each.startswith("data: ")]
    assert [(each["content"], each["stop"]) for each in told] == [("a", False), ("b", False), ("", True)]
    assert (told[-1]["stop_type"], told[-1]["tokens_predicted"]) == ("limit", 2)


def test_nothing_is_wanted_but_the_prompt_in_the_cache(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("x")]
    answer = client.post("/infill", json={**FROM_VIM, "n_predict": 0, "response_fields": []}).get_json()
    assert (answer["content"], answer["tokens_predicted"]) == ("", 0) and pool.sampling.max_tokens == 1


def test_files_give_way_to_the_text(client: FlaskClient, pool: FakePool) -> None:
    files = [{"filename": str(number), "text": "x"} for number in range(3)]
    pool.scripts = [[ContextOverflow(9, 5)], says("ok")]
    answer = client.post("/infill", json={"input_prefix": "x", "input_extra": files}).get_json()
    assert answer["truncated"] and [name for name, _ in pool.prompt.files] == ["2"]
    pool.scripts = [[ContextOverflow(9, 5)]]
    assert client.post("/infill", json={"input_prefix": "x"}).status_code == 400


def test_a_model_that_cannot(client: FlaskClient, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate"}))
    answer = client.post("/infill", json={"input_prefix": "x"})
    assert answer.status_code == 400 and answer.get_json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\n    b\n  c", "a\n    b"),
        ("a\n\n    b\n\nc", "a\n\n    b"),
        ("a\n\t\t\t\tb", "a\n\t\t\t\tb"),
        ("a\n    b\n", "a\n    b\n"),
        ("    ", "    "),
        ("a\r\nb", "a\r"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 100])
def test_a_line_that_is_less_indented_ends_the_text(text: str, shown: str, size: int) -> None:
    reader = IndentedReader(OutputReader(), 4)
    events: list[Any] = []
    for at in range(0, len(text), size):
        events += reader.feed(Delta(text[at : at + size], tokens=1))
        if any(isinstance(event, Enough) for event in events):
            break
    finished: Any = says()[-1]
    events += reader.finish(finished)
    assert "".join(event.text for event in events if isinstance(event, Content)) == shown
    assert any(isinstance(event, Enough) for event in events) == (shown not in (text,))
