"""Adapters of requests: each answer is that of the weights that its adapter makes of the model's, alone or not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.contract.subject import ADAPTED, PROMPTS, Subject
from tests.contract.test_writing import check_greedy

ADAPTERS = ("a", "b")
AT_ONCE = 6


@pytest.fixture
def loaded(subject: Subject) -> Iterator[None]:
    """Load two adapters while the server runs, and unload them again."""
    folder = subject.path_of(ADAPTED).parent
    for name in ADAPTERS:
        asked = {"lora_name": name, "lora_path": str(folder / name), "base_model_name": ADAPTED}
        answer = subject.client._client.post(f"{subject.server.url}/v1/load_lora_adapter", json=asked)
        assert answer.status_code == 200, answer.text
    yield
    for name in ADAPTERS:
        subject.client._client.post(f"{subject.server.url}/v1/unload_lora_adapter", json={"lora_name": name})


def test_answers_are_those_of_the_merged_weights(subject: Subject, loaded: None) -> None:
    own = {ADAPTED: subject.own_writing(ADAPTED), **{name: subject.own_merged(ADAPTED, name) for name in ADAPTERS}}
    first = {tuple(answers[PROMPTS[0]]["pieces"]) for answers in own.values()}
    assert len(first) == len(own), "each adapter changes what is written"
    asked = [(model, prompt) for prompt in PROMPTS for model in own]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        texts = list(threads.map(lambda each: subject.text(each[1], model=each[0]), asked))
    for model in own:
        said = [(prompt, text) for (name, prompt), text in zip(asked, texts, strict=True) if name == model]
        check_greedy(own[model], said, max(subject.tie(ADAPTED), 1e-3))
    assert len(subject.workers_of(ADAPTED)) == 1


def test_one_that_does_not_fit_is_refused_and_harms_none(subject: Subject, loaded: None) -> None:
    folder = subject.path_of(ADAPTED).parent
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "empty" / "adapter_config.json").write_text((folder / "a" / "adapter_config.json").read_text())
    asked = {"lora_name": "empty", "lora_path": str(folder / "empty"), "base_model_name": ADAPTED}
    answer = subject.client._client.post(f"{subject.server.url}/v1/load_lora_adapter", json=asked)
    assert answer.status_code == 400 and "empty" in answer.json()["error"]["message"], answer.text
    before = subject.text(PROMPTS[0], model="a")
    assert before == subject.text(PROMPTS[0], model="a") != subject.text(PROMPTS[0], model=ADAPTED)
