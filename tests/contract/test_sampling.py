"""What requests may ask of the choice of tokens: what is declared has its effect, the rest is refused by name."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from localai_flask.backends.takes import DETAILS
from localai_flask.sampling_params import SamplingParams, wanted_fields
from tests.contract.subject import PROMPTS, TOKENS, WRITER, Subject
from tests.support.effects import BODIES

PROMPT = PROMPTS[0]
VALUES = {name: value for name, (value, _) in BODIES["/v1/completions"][1].items() if name in wanted_fields()}
"""For each sampling field a value that is not its default."""
NEUTRAL = {
    name: getattr(SamplingParams(), name)
    for name in VALUES
    if name not in ("max_tokens", "seed", "samplers", "temperature", "top_p", "top_k")
}
"""The values by which the others ask for nothing."""
ANY = {"temperature": 1.5, "seed": 5}
"""With these a greedy answer would be chance."""


def test_what_is_not_declared_is_refused_by_name(subject: Subject) -> None:
    subject.need(WRITER)
    for name, value in VALUES.items():
        if not subject.takes(name) and name not in DETAILS:
            refused = subject.refusal(**{name: value})
            assert (refused["param"], refused["code"]) == (name, "unsupported_parameter"), refused
            assert f"`{name}" in refused["message"] and subject.engine.yaml_name in refused["message"]


def test_what_is_declared_is_taken(subject: Subject) -> None:
    subject.need(WRITER)
    for name, value in VALUES.items():
        if subject.takes(name):
            answer = subject.complete(PROMPT, **{"max_tokens": 4, name: value})
            assert answer.choices[0].finish_reason in ("length", "stop"), name


def test_neutral_values_ask_for_nothing(subject: Subject) -> None:
    assert subject.text(PROMPT, **NEUTRAL) == subject.text(PROMPT)


def test_each_family_refuses_in_its_own_shape(subject: Subject) -> None:
    missing = [name for name in VALUES if not subject.takes(name) and name not in DETAILS]
    if not missing:
        pytest.skip(f"{subject.engine.name} takes every field")
    client = anthropic.Anthropic(base_url=subject.server.url, api_key="none", max_retries=0)
    with client, pytest.raises(anthropic.BadRequestError) as refused:
        client.messages.create(
            model=subject.need(WRITER),
            max_tokens=2,
            messages=[{"role": "user", "content": "x"}],
            extra_body={missing[0]: VALUES[missing[0]]},
        )
    assert refused.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
    assert f"`{missing[0]}" in str(refused.value)


@pytest.mark.parametrize("field", ["top_k", "top_p", "min_p", "top_n_sigma"])
def test_only_the_likeliest_token_is_left(subject: Subject, field: str) -> None:
    subject.need_writing(field)
    narrow = {"top_k": 1, "top_p": 1e-6, "min_p": 1, "top_n_sigma": 1e-3}
    assert subject.text(PROMPT, **ANY, **{field: narrow[field]}) == subject.text(PROMPT)


def test_a_bias_on_a_token(subject: Subject) -> None:
    subject.need_writing("logit_bias")
    first = subject.own_writing()[PROMPT]["tokens"][0]
    without = subject.text(PROMPT, max_tokens=1, logit_bias={str(first): -100})
    assert without != subject.own_writing()[PROMPT]["pieces"][0]
    assert subject.text(PROMPT, max_tokens=5, logit_bias={str(first): 100}) == 5 * piece(subject, 0)


def test_a_bias_on_a_text(subject: Subject) -> None:
    subject.need_writing("text_bias")
    text = piece(subject, 0)
    assert not subject.text(PROMPT, max_tokens=1, logit_bias={text: -100}).startswith(text)


def test_allowed_tokens(subject: Subject) -> None:
    subject.need_writing("allowed_token_ids")
    own = subject.own_writing()[PROMPT]
    assert subject.text(PROMPT, max_tokens=5, allowed_token_ids=own["tokens"][2:3]) == 5 * own["pieces"][2]


def test_a_token_that_ends_the_text(subject: Subject) -> None:
    subject.need_writing("stop_token_ids")
    own = subject.own_writing()[PROMPT]
    at = own["tokens"].index(own["tokens"][5])
    answer = subject.complete(PROMPT, stop_token_ids=own["tokens"][5:6])
    assert answer.choices[0].text == "".join(own["pieces"][:at])
    assert answer.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("field", ["bad_words", "banned_strings"])
def test_texts_that_never_come(subject: Subject, field: str) -> None:
    subject.need_writing(field)
    own = subject.own_writing()[PROMPT]
    text, begin = own["text"], len("".join(own["pieces"][:3]))  # within a token it would take what stands before along
    banned = text[begin : begin + 3]
    asked = banned.swapcase() if field == "banned_strings" else banned
    answer = subject.text(PROMPT, **{field: [asked]})
    assert banned.lower() not in answer.lower() if field == "banned_strings" else banned not in answer
    assert answer.startswith(text[:begin])


def test_the_stop_string_stays(subject: Subject) -> None:
    subject.need_writing("include_stop_str_in_output")
    text = subject.own_writing()[PROMPT]["text"]
    stop = text[5:8]
    answer = subject.text(PROMPT, stop=[stop], include_stop_str_in_output=True)
    assert answer == text[: text.find(stop) + len(stop)]


def end_token(subject: Subject) -> int:
    """Return the token that ends a text of the writer."""
    asked = {"model": WRITER, "content": subject.engine.end_text, "parse_special": True}
    (token,) = subject.server.post("/tokenize", asked)[1]["tokens"]
    return int(token)


def test_the_token_that_ends_every_text(subject: Subject) -> None:
    subject.need_writing("logit_bias")
    ending = {"logit_bias": {str(end_token(subject)): 100}}
    answer = subject.complete(PROMPT, **ending)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("", "stop")


def test_an_end_that_is_never_chosen(subject: Subject) -> None:
    subject.need_writing("logit_bias", "ignore_eos")
    answer = subject.complete(PROMPT, logit_bias={str(end_token(subject)): 100}, ignore_eos=True)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == TOKENS


def test_no_end_before_its_time(subject: Subject) -> None:
    subject.need_writing("logit_bias", "min_tokens")
    answer = subject.complete(PROMPT, logit_bias={str(end_token(subject)): 100}, min_tokens=5)
    assert answer.choices[0].text == "".join(subject.own_writing()[PROMPT]["pieces"][:5])
    assert answer.choices[0].finish_reason == "stop"


def test_an_answer_is_no_longer_for_a_minimum_beyond_its_limit(subject: Subject) -> None:
    subject.need_writing("min_tokens")
    answer = subject.complete(PROMPT, min_tokens=1000 * TOKENS)
    assert (answer.usage.completion_tokens, answer.choices[0].finish_reason) == (TOKENS, "length")


def distinct(subject: Subject, **fields: Any) -> tuple[int, int]:
    """Return how many tokens an answer has, and how many of them differ."""
    subject.need_writing(*fields, "top_logprobs")
    tokens = subject.complete(PROMPT, max_tokens=2 * TOKENS, logprobs=0, **fields).choices[0].logprobs.tokens
    return len(tokens), len(set(tokens))


def test_no_sequence_comes_twice(subject: Subject) -> None:
    written, different = distinct(subject, no_repeat_ngram_size=1)
    assert written == different == 2 * TOKENS


@pytest.mark.parametrize(
    "field, value", [("repeat_penalty", 100), ("frequency_penalty", 2), ("presence_penalty", 2), ("dry_multiplier", 99)]
)
def test_repetitions_become_rarer(subject: Subject, field: str, value: float) -> None:
    _, before = distinct(subject)
    _, after = distinct(subject, **{field: value})
    assert after > before


def test_time_ends_an_answer(subject: Subject) -> None:
    subject.need_writing("t_max_predict_ms")
    answer = subject.complete(PROMPT, max_tokens=subject.longest, t_max_predict_ms=20)
    assert answer.choices[0].finish_reason == "length"
    assert 0 < answer.usage.completion_tokens < subject.longest / 2


def test_nothing_is_used_that_others_left(subject: Subject) -> None:
    subject.need_writing("cache_prompt")
    prompt = "a b c d " * 50
    cached = [
        subject.complete(prompt, max_tokens=1, cache_prompt=use).usage.prompt_tokens_details.cached_tokens
        for use in (True, True, False)
    ]
    assert cached[1] > 0 and cached[2] == 0


def piece(subject: Subject, at: int) -> str:
    return subject.own_writing()[PROMPT]["pieces"][at]
