"""A real sentence-transformers folder: its vectors are masked means of what torch computes, of length 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from openai import OpenAI

from tests.support.real_models import fetch_minilm
from tests.support.server import Server

pytestmark = pytest.mark.timeout(600)  # the models may have to be fetched first

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = (
    "The cat sits on the mat.",
    "A feline rests on a rug.",
    "Berlin is the capital of Germany.",
    "x",
    "Ein Satz auf Deutsch, mit Umlauten: äöü.",
    "A long text about the sea, the wind and the stars above. " * 12,
)


def pooled(folder: Path) -> np.ndarray:
    """Compute the vectors one by one, so that no padding takes part."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    vectors = []
    for text in TEXTS:
        encoded = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            states = model(**encoded).last_hidden_state
        mask = encoded["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1)
        vectors.append(torch.nn.functional.normalize(mean)[0].numpy())
    return np.stack(vectors)


def test_vectors_are_masked_means(tmp_path: Path) -> None:
    folder = fetch_minilm()
    models = tmp_path / "models"
    models.mkdir()
    (models / "minilm").symlink_to(folder)
    (models / "minilm.yaml").write_text(
        "name: all-minilm\nbackend: sentencetransformers\nembeddings: true\nparameters: {model: minilm}\n"
    )
    with (
        Server(models, tmp_path) as server,
        OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=110) as client,
    ):
        together = client.embeddings.create(model="all-minilm", input=list(TEXTS), encoding_format="float")
        alone = client.embeddings.create(model="all-minilm", input=TEXTS[0], encoding_format="float")
    expected = pooled(folder)
    assert np.abs(np.array([each.embedding for each in together.data]) - expected).max() < 1e-4
    assert np.abs(np.array(alone.data[0].embedding) - expected[0]).max() < 1e-4
