"""The prompt instead of an answer: what each API's requests would give the model."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from tests.api.fakes import FakePool, says

SAID = [{"role": "user", "content": "Hello there"}]
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": SAID},
    "/v1/messages": {"messages": SAID, "max_tokens": 5},
    "/v1/responses": {"input": "Hello there", "store": False},
}


@pytest.fixture(autouse=True)
def _that_tells_its_tokens(pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "tokenize"}))


@pytest.mark.parametrize("path", BODIES)
def test_the_prompt_is_that_of_the_answer(client: FlaskClient, pool: FakePool, path: str) -> None:
    rendered = client.post(f"{path}/render", json={"model": "tiny", **BODIES[path]}).get_json()
    asked = pool.questions[-1]
    pool.scripts = [says("Hi")]
    assert client.post(path, json={"model": "tiny", **BODIES[path]}).status_code == 200
    assert rendered["prompt"] == pool.prompt.text and getattr(asked, "prompt", None) == pool.prompt
    assert "Hello there" in rendered["prompt"] and rendered["model"] == "tiny"
    assert len(rendered["token_ids"]) == rendered["prompt_tokens"] > 0


def test_prompts_of_completions_are_as_they_are(client: FlaskClient) -> None:
    told = client.post("/v1/completions/render", json={"prompt": ["Hello there", [7, 8]]}).get_json()
    assert [each["prompt"] for each in told] == ["Hello there", ""] and told[1]["token_ids"] == [7, 8]
    tokens = client.post("/v1/tokenize", json={"content": "Hello there"}).get_json()["tokens"]
    assert told[0]["token_ids"] == tokens
