"""What a model writes: the library's own text, whole or in pieces, to the token and text that end it, alone or not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.contract.own_answers import Answer
from tests.contract.subject import PROMPTS, REAL_WRITER, TOKENS, WRITER, Subject, agrees, common_tokens

ENOUGH = 0.5
"""The share of the library's tokens that have to be the same where some may differ."""
AT_ONCE = 8
MANY = 500
"""As many tokens come in several pieces also from a model that writes thousands in a second."""
WRITERS = pytest.mark.parametrize("model", [WRITER, REAL_WRITER])


def check_greedy(own: dict[str, Answer], texts: list[tuple[str, str]], tie: float) -> None:
    """Fail if a text differs where the library was sure, or if too little was the same to tell."""
    wrong = [(text, own[prompt]) for prompt, text in texts if not agrees(text, own[prompt], tie)]
    assert not wrong
    common = sum(common_tokens(text, own[prompt]) for prompt, text in texts)
    assert common >= ENOUGH * sum(len(own[prompt]["pieces"]) for prompt, _ in texts)


@WRITERS
def test_greedy_text_is_the_librarys(subject: Subject, model: str) -> None:
    subject.need(model)
    own = subject.own_writing(model)
    texts = [(prompt, subject.text(prompt, model=model)) for prompt in own]
    check_greedy(own, texts, subject.tie(model, alone=True))


@WRITERS
def test_eight_at_once(subject: Subject, model: str) -> None:
    subject.need(model)
    own = subject.own_writing(model)
    asked = (list(own) * AT_ONCE)[:AT_ONCE]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        texts = list(threads.map(lambda prompt: subject.text(prompt, model=model), asked))
    check_greedy(own, list(zip(asked, texts, strict=True)), subject.tie(model))


def test_pieces_of_a_stream_are_the_whole(subject: Subject) -> None:
    whole = subject.complete(PROMPTS[0], max_tokens=MANY)
    asked = {"max_tokens": MANY, "stream": True, "stream_options": {"include_usage": True}}
    chunks = list(subject.complete(PROMPTS[0], **asked))
    pieces = [choice.text for chunk in chunks for choice in chunk.choices if choice.text]
    assert len(pieces) > 1
    assert "".join(pieces) == whole.choices[0].text
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == [whole.choices[0].finish_reason]
    assert counts(chunks[-1].usage) == counts(whole.usage)


def test_a_chat_is_its_rendered_prompt(subject: Subject) -> None:
    chat = subject.client.chat.completions.create(
        model=subject.need(WRITER),
        messages=[{"role": "user", "content": PROMPTS[0]}],
        max_tokens=TOKENS,
        temperature=0,
    )
    completion = subject.complete(subject.engine.chat_prompt.format(PROMPTS[0]))
    assert chat.choices[0].message.content == completion.choices[0].text
    assert counts(chat.usage) == counts(completion.usage)


@pytest.mark.parametrize("most", [1, 7, TOKENS])
def test_max_tokens(subject: Subject, most: int) -> None:
    own = subject.own_writing()[PROMPTS[0]]
    answer = subject.complete(PROMPTS[0], max_tokens=most)
    assert answer.choices[0].text == "".join(own["pieces"][:most])
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == most


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("over", ["one token", "two tokens"])
def test_text_ends_before_a_stop_string(subject: Subject, over: str, stream: bool) -> None:
    text, stop, expected = find_stop(subject, over == "two tokens")
    answer = subject.complete(text, stop=[stop], stream=stream)
    chunks = list(answer) if stream else [answer]
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.text for choice in choices) == expected
    assert choices[-1].finish_reason == "stop"


def find_stop(subject: Subject, is_split: bool) -> tuple[str, str, str]:
    """Return a prompt, a text that its answer has beyond its beginning, and what stands before."""
    for prompt, own in subject.own_writing().items():
        ends = [len("".join(own["pieces"][: at + 1])) for at in range(len(own["pieces"]))]
        for at, piece in enumerate(own["pieces"]):
            begin = ends[at] - len(piece)
            stop = own["text"][ends[at] - 1 : ends[at] + 1] if is_split else piece
            begin = ends[at] - 1 if is_split else begin
            if begin > 3 and stop and own["text"].find(stop) == begin:
                return prompt, stop, own["text"][:begin]
    raise AssertionError("no answer has such a text")


def test_a_seed_repeats_an_answer(subject: Subject) -> None:
    subject.need_writing()

    def draw(seed: int) -> str:
        return subject.text(PROMPTS[1], temperature=1.0, seed=seed)

    first = [draw(seed) for seed in range(5)]
    assert len(set(first)) == 5, "seeds make no difference"
    assert [draw(seed) for seed in range(5)] == first
    if not subject.tie(WRITER):
        with ThreadPoolExecutor(5) as threads:
            assert list(threads.map(draw, range(5))) == first, "others in the batch change what is drawn"


def test_without_a_seed_answers_differ(subject: Subject) -> None:
    subject.need_writing()
    assert len({subject.text(PROMPTS[1], temperature=1.0) for _ in range(4)}) == 4


def test_usage_counts_tokens(subject: Subject) -> None:
    for prompt in PROMPTS[:3]:
        own = subject.own_writing()[prompt]
        usage = subject.complete(prompt, max_tokens=TOKENS // 2).usage
        read, written = len(own["prompt_tokens"]), TOKENS // 2
        assert counts(usage) == (read, written, read + written)


def test_several_answers_to_one_prompt(subject: Subject) -> None:
    answer = subject.complete(PROMPTS[0], n=2)
    texts = [choice.text for choice in answer.choices]
    assert texts == [subject.text(PROMPTS[0])] * 2
    assert answer.usage.completion_tokens == 2 * TOKENS


def counts(usage: Any) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
