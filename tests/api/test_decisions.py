"""Decisions and System One through the official client, over a pool whose model answers as a test has it."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import openai
import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.generation import Prompt, Usage
from tests.api.conftest import MODEL
from tests.api.fakes import FakePool
from tests.support.pictures import noise

httpx = pytest.importorskip("httpx2")
TEXT = "The sky was grey, and it rained all day."
RIGHT, FIRST = 0.4, 0.2
"""How much more the model likes an option that is right, or shown first."""
PREDICATE = {"type": "predicate", "instructions": "It rained."}
CHOICE = {
    "type": "choice",
    "name": "weather",
    "instructions": "How was the weather?",
    "choices": [{"value": "sunny"}, {"value": "right", "description": "as it was"}, {"value": True}],
}
SCORE = {
    "type": "score",
    "instructions": "How wet was it?",
    "levels": [{"label": "dry"}, {"label": "damp"}, {"label": "right"}],
}


def likes(prompt: Prompt, label: int) -> float:
    """Return how much the model likes the option with this label: that which is right, and the first that is shown."""
    shown = dict(line.split(") ", 1) for line in prompt.text.splitlines() if line[1:3] == ") ")
    is_right = shown.get(chr(label), "").startswith("right")
    return 0.1 + RIGHT * is_right + FIRST * (chr(label) == "A")


@pytest.fixture
def pool(pool: FakePool) -> FakePool:
    """One that tells tokens, which are bytes, so that only letters are labels."""
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "tokenize"}), slots=3)
    pool.likes = likes
    return pool


@pytest.fixture
def api(app: Flask) -> Iterator[openai.OpenAI]:
    http = openai.DefaultHttpxClient(transport=httpx.WSGITransport(app=app))
    with openai.OpenAI(base_url="http://test/v1", api_key="none", http_client=http, max_retries=0) as client:
        yield client


def post(client: FlaskClient, **body: Any) -> Any:
    return client.post("/v1/systemone", data=json.dumps({"model": "tiny", **body}))  # in the order of the options


def refusal(api: openai.OpenAI, *questions: dict[str, Any], input: Any = TEXT, **extra: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as refused:
        api.decisions.create(model="tiny", input=input, questions=questions, extra_body=extra or None)
    return refused.value


def test_each_kind_of_question(api: openai.OpenAI, pool: FakePool) -> None:
    pool.usages = [Usage(20, 1, 12), Usage(20, 1, 15)]
    made = api.decisions.create(model="tiny", input=TEXT, questions=[PREDICATE, CHOICE, SCORE])
    predicate, choice, score = made.answers
    assert predicate.type == "predicate" and predicate.name is None
    assert predicate.probability == pytest.approx(0.3 / 0.4)
    assert choice.type == "choice" and choice.name == "weather" and choice.choice == "right"
    assert [each.value for each in choice.probabilities] == ["sunny", "right", True]
    assert [each.probability for each in choice.probabilities] == pytest.approx([0.3 / 0.9, 0.5 / 0.9, 0.1 / 0.9])
    assert choice.confidence == pytest.approx((3 * 0.5 / 0.9 - 1) / 2)
    assert score.type == "score" and score.score == pytest.approx((0.1 + 2 * 0.5) / 0.9)
    assert [(each.value, each.label) for each in score.probabilities] == [(0, "dry"), (1, "damp"), (2, "right")]
    for answer in (choice, score):
        assert math.fsum(each.probability for each in answer.probabilities) == pytest.approx(1, abs=1e-6)
    assert made.model == "tiny"
    # Of 60 tokens, 12 were there before, and 8, 5 and 5 were computed.
    assert (made.usage.input_tokens, made.usage.input_tokens_details.cached_tokens) == (30, 12)
    assert made.usage.output_tokens == 0


def test_nothing_is_generated_and_the_text_comes_first(api: openai.OpenAI, pool: FakePool) -> None:
    api.decisions.create(model="tiny", input=TEXT, questions=[PREDICATE, CHOICE] * 5)
    texts = [prompt.text for prompt, _ in pool.requests]
    begins = {text[: text.index(TEXT) + len(TEXT) + 2] for text in texts}
    assert len(begins) == 1 and len(texts) == 10
    assert {sampling.max_tokens for _, sampling in pool.requests} == {1}
    assert pool.at_once == [6], "as many as would fill the worker's line"


def test_true_is_not_the_word(api: openai.OpenAI) -> None:
    question = {**CHOICE, "choices": [{"value": True, "description": "right"}, {"value": "true"}]}
    (answer,) = api.decisions.create(model="tiny", input=TEXT, questions=[question]).answers
    assert answer.choice is True and [each.value for each in answer.probabilities] == [True, "true"]


def test_permutations_take_the_place_out(api: openai.OpenAI, pool: FakePool) -> None:
    pool.likes = lambda prompt, label: 0.6 if label == ord("A") else 0.2
    made = api.decisions.create(model="tiny", input=TEXT, questions=[CHOICE], extra_body={"permutations": 3})
    assert [each.probability for each in made.answers[0].probabilities] == pytest.approx([1 / 3] * 3)
    assert len(pool.requests) == 3


def test_what_loading_took_is_no_longer_left(api: openai.OpenAI, pool: FakePool) -> None:
    class Slow(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            time.sleep(0.3)
            return super().__iter__()

    pool.loading = Slow([0.5])
    api.decisions.create(model="tiny", input=TEXT, questions=[PREDICATE], extra_body={"timeout": 5})
    looked, asked = (terms.timeout_s or 0 for terms in pool.terms)
    assert 3 < asked <= looked - 0.3 <= 4.4


def test_both_wires_agree(api: openai.OpenAI, client: FlaskClient) -> None:
    made = api.decisions.create(model="tiny", input=TEXT, questions=[PREDICATE, CHOICE, SCORE]).answers
    found = post(
        client,
        state=TEXT,
        questions={
            "rain": {"type": "noul", "instructions": "It rained."},
            "weather": {
                "type": "choice",
                "instructions": CHOICE["instructions"],
                "criteria": {"sunny": None, "right": "as it was", "true": None},
            },
            "wet": {"type": "score", "instructions": SCORE["instructions"], "criteria": ["dry", "damp", "right"]},
        },
    ).json
    answers = found["answers"]
    assert list(answers) == ["rain", "weather", "wet"] and found["model"] == "tiny"
    assert answers["rain"]["noul"] == pytest.approx(made[0].probability)
    assert answers["weather"]["choice"] == made[1].choice
    assert list(answers["weather"]["probabilities"].values()) == pytest.approx(
        [each.probability for each in made[1].probabilities]
    )
    assert answers["wet"]["legend"] == {"0": "dry", "1": "damp", "2": "right"}
    assert answers["wet"]["score"] == pytest.approx(made[2].score)
    assert answers["wet"]["confidence"] == pytest.approx(made[2].confidence)
    assert found["usage"]["input_tokens"] == 60


def test_a_state_may_be_json(client: FlaskClient, pool: FakePool) -> None:
    state = {"order": 5, "items": ["tea"]}
    assert post(client, state=state, questions={"a": {"type": "noul", "instructions": "It is tea."}}).status_code == 200
    assert '{"order":5,"items":["tea"]}' in pool.prompt.text


def test_conversations_are_shown_as_what_was_said(api: openai.OpenAI, pool: FakePool) -> None:
    api.decisions.create(
        model="tiny",
        questions=[PREDICATE],
        input=[
            {"role": "system", "content": "Be strict."},
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "Rain?"}, {"type": "input_json", "data": {"a": 1}}],
            },
            {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "wet"},
            {"role": "assistant", "content": "It rains."},
        ],
    )
    text = pool.prompt.text
    assert text.startswith("<|im_start|>system\nBe strict.<|im_end|>\n<|im_start|>user\nUser: Rain?\n")
    assert '{"a":1}\n\nAssistant: (calls look) {}\n\nTool: wet\n\nAssistant: It rains.\n\nIs this true' in text


def test_a_model_that_sees_is_asked_about_images(api: openai.OpenAI, pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, capabilities=pool.info.capabilities | {"image"})
    address = f"data:image/png;base64,{base64.b64encode(noise()).decode()}"
    parts = [{"type": "input_text", "text": "Look:"}, {"type": "input_image", "image_url": address}]
    api.decisions.create(model="tiny", input=[{"role": "user", "content": parts}], questions=[PREDICATE, CHOICE])
    for prompt, _ in pool.requests:
        (image,) = prompt.images
        assert prompt.text[: image.at].endswith("Look:\n") and address not in prompt.text


@pytest.mark.parametrize(
    ("question", "said", "param"),
    [
        ({"type": "guess", "instructions": "x"}, "must be one of: predicate, choice, score", "questions[0].type"),
        ({**CHOICE, "choices": [{"value": "a"}]}, "between 2 and 255", "questions[0].choices"),
        ({**CHOICE, "choices": [{"value": str(n)} for n in range(300)]}, "between 2 and 255", "questions[0].choices"),
        ({**CHOICE, "choices": [{"value": "a"}, {"value": "a"}]}, "the same", "questions[0].choices[1]"),
        ({**CHOICE, "choices": [{"value": 1}, {"value": "a"}]}, "string", "questions[0].choices[0].value"),
        (None, "must not be null", "questions[0]"),
        ({**CHOICE, "choices": [{"value": str(n)} for n in range(30)]}, "30 options", "questions[0]"),
        ({"type": "score", "instructions": "x"}, "is required", "questions[0].levels"),
        ({"type": "predicate", "instructions": []}, "must not be empty", "questions[0].instructions"),
        (
            {"type": "predicate", "instructions": [{"type": "input_image", "image_url": "https://a/b.png"}]},
            "is an image",
            "questions[0].instructions[0]",
        ),
    ],
)
def test_a_question_that_cannot_be_answered_is_named(
    api: openai.OpenAI, question: dict[str, Any], said: str, param: str
) -> None:
    error = refusal(api, question)
    assert said in str(error) and error.param == param


@pytest.mark.parametrize(
    ("input", "said", "param"),
    [
        ("", "must be a string that is not empty", "input"),
        ([{"role": "system", "content": "Be strict."}], "more than instructions", "input"),
        ([{"role": "robot", "content": "x"}], "must be one of: user", "input[0].role"),
        ([{"type": ["x"], "role": "user", "content": "x"}], "must be one of: message", "input[0].type"),
        ([{"role": "user", "content": [{"type": {"a": 1}}]}], "must be one of", "input[0].content[0].type"),
        ([{"type": "function_call_output", "call_id": "c", "output": "x"}], "comes before it", "input[0].call_id"),
        ([{"role": "user", "content": [{"type": "input_file"}]}], "must be one of", "input[0].content[0].type"),
        (
            [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,aGk="}]}],
            "reads text only",
            "input",
        ),
    ],
)
def test_an_input_that_cannot_be_read_is_named(api: openai.OpenAI, input: Any, said: str, param: str) -> None:
    error = refusal(api, PREDICATE, input=input)
    assert said in str(error) and error.param == param


def test_adapters_by_number_are_refused(api: openai.OpenAI, client: FlaskClient) -> None:
    chosen = [{"id": 0, "scale": 1}]
    assert refusal(api, PREDICATE, lora=chosen).param == "lora"
    noul = {"a": {"type": "noul", "instructions": "x"}}
    assert post(client, state="x", questions=noul, lora=chosen).json["error"]["param"] == "lora"
    with pytest.raises(openai.BadRequestError, match="name one in `model`"):
        api.moderations.create(model="tiny", input="x", extra_body={"lora": chosen})


def test_too_many_prompts_are_refused(api: openai.OpenAI) -> None:
    levels = [{"label": str(number)} for number in range(20)]
    error = refusal(api, *[{**SCORE, "levels": levels}] * 200, permutations=20)
    assert "4000 prompts" in str(error) and error.param == "permutations"


def test_system_one_names_what_is_wrong(client: FlaskClient) -> None:
    noul = {"type": "noul", "instructions": "x"}
    for body, said in (
        ({"state": "", "questions": {"a": noul}}, "`state` must be"),
        ({"state": "x", "questions": {}}, "`questions` must have between 1 and 400"),
        ({"state": "x", "questions": {"a": {**noul, "type": "choice"}}}, "`questions.a.criteria` must be an object"),
        ({"state": "x", "questions": {"a": {**noul, "type": "score", "criteria": ["b"]}}}, "between 2 and 255"),
        (
            {"state": "x", "questions": {"a": {**noul, "criteria": {"true": "y", "yes": "z"}}}},
            "`questions.a.criteria.yes` is unknown here; a noul's criteria are `true` and `false`",
        ),
        ({"state": "x", "questions": {"a": {**noul, "criteria": []}}}, "must be an object with `true` and `false`"),
        ({"state": "x", "questions": {"a": None}}, "`questions.a` must not be null"),
        ({"state": "x", "questions": {"a": noul}, "images": ["y"]}, "`images` cannot be sent here"),
    ):
        answer = post(client, **body)
        assert answer.status_code == 400 and said in answer.json["error"]["message"]


def test_a_model_without_tokens_is_refused(api: openai.OpenAI, pool: FakePool) -> None:
    pool.info = FakePool().info
    error = refusal(api, PREDICATE)
    assert error.param == "model" and "tokens" in str(error)


def test_fields_and_models_apply(api: openai.OpenAI, models: Any) -> None:
    (models / "other.yaml").write_text(MODEL.format(name="other"))
    with pytest.raises(openai.NotFoundError):
        api.decisions.create(model="nope", input=TEXT, questions=[PREDICATE])
    made = api.decisions.create(
        model="other", input=TEXT, questions=[PREDICATE], prompt_cache_key="k", safety_identifier="s"
    )
    assert made.model == "other"


def test_moderations_are_thirteen_questions_about_each_text(api: openai.OpenAI, pool: FakePool) -> None:
    def judged(prompt: Prompt, label: int) -> float:
        is_harm = "a knife" in prompt.text and "It depicts death" in prompt.text
        return 0.9 if (label == ord("A")) == is_harm else 0.1

    pool.likes = judged
    made = api.moderations.create(model="tiny", input=["a spoon", "a knife"])
    harmless, harmful = made.results
    assert (harmless.flagged, harmful.flagged) == (False, True)
    assert harmful.categories.violence and harmful.categories.violence_graphic and not harmful.categories.hate
    assert harmful.category_scores.violence == pytest.approx(0.9)
    assert harmless.category_scores.sexual_minors == pytest.approx(0.1)
    assert harmless.category_applied_input_types.self_harm == ["text"]
    assert len(pool.requests) == 26 and made.model == "tiny"
    api.moderations.create(model="tiny", input=[{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])
    assert "a\nb\n\nIs this true" in pool.prompt.text


@pytest.mark.parametrize("input", [[], "", ["a", ""], ["a", 1], [{"type": "image_url", "image_url": {"url": "x"}}]])
def test_moderations_name_what_is_wrong(api: openai.OpenAI, input: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        api.moderations.create(model="tiny", input=input)
    assert refused.value.param.startswith("input")


def test_json_is_bounded(api: openai.OpenAI, client: FlaskClient) -> None:
    deep: Any = {}
    for _ in range(40):
        deep = {"a": deep}
    error = refusal(api, PREDICATE, input=[{"role": "user", "content": [{"type": "input_json", "data": deep}]}])
    assert "nested deeper than 32" in str(error) and error.param == "input[0].content[0]"
    assert post(client, state=deep, questions={"a": {"type": "noul", "instructions": "x"}}).status_code == 400


def test_prompts_are_bounded_together(api: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localai_flask.api.decisions.asking.MOST_CHARACTERS", 500)
    api.decisions.create(model="tiny", input=TEXT, questions=[PREDICATE] * 2)
    error = refusal(api, *[PREDICATE] * 20)
    assert "fewer questions at a time" in str(error) and error.param == "input"
    long = {**CHOICE, "instructions": "How? " * 40}
    api.decisions.create(model="tiny", input=TEXT, questions=[long])
    error = refusal(api, long, permutations=3)
    assert "in fewer orders" in str(error), "a long question counts once for each order"
