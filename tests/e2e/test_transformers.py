"""A Hugging Face folder dropped into the models folder, served by the transformers backend."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from tests.support.server import Server

pytest.importorskip("torch")
pytest.importorskip("transformers")


def test_a_dropped_folder_is_served_to_eight_at_once(server: Server, client: openai.OpenAI, models_path: Path) -> None:
    from tests.support.hf_models import make_model

    make_model(models_path / "tiny")
    server.await_quiet("tiny")

    def ask(_: int) -> str:
        pieces = client.completions.create(
            model="tiny", prompt="the quick brown", max_tokens=12, temperature=0, stream=True
        )
        return "".join(piece.choices[0].text for piece in pieces if piece.choices)

    alone = ask(0)
    assert alone
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(8))) == [alone] * 8
    assert client.models.retrieve("tiny").model_dump()["state"] == "ready"
