"""Images: seen as the library itself sees them, each in its place, counted, and refused where they cannot be."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

from tests.contract.subject import PROMPTS, SEER, WRITER, Subject, agrees
from tests.support.pictures import noise

TOKENS = 12
ONE, TWO = (base64.b64encode(noise(seed, 60, 80)).decode() for seed in (1, 2))
ASKED: list[dict[str, Any]] = [
    {"images": images, "text": "the dog looks on"} for images in ([ONE], [TWO], [ONE, TWO], [TWO, ONE])
]


def ask(subject: Subject, images: list[str], text: str, model: str = SEER, **fields: Any) -> Any:
    parts: Any = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}} for data in images]
    messages: Any = [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]
    given = {"temperature": 0, "max_tokens": TOKENS, **fields}
    return subject.client.chat.completions.create(model=subject.need(model), messages=messages, **given)


def said(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def test_images_are_seen_as_the_library_sees_them(subject: Subject) -> None:
    subject.need(SEER)
    for each, own in zip(ASKED, subject.own_seeing(ASKED, TOKENS), strict=True):
        answer = ask(subject, **each)
        assert answer.usage.prompt_tokens == len(own["prompt_tokens"])
        assert agrees(said(answer), own, subject.engine.tie), (said(answer), own["text"])


def test_each_image_counts(subject: Subject) -> None:
    one, two, both, again = (ask(subject, **each) for each in (*ASKED[:3], ASKED[0]))
    assert said(one) == said(again) and len({said(one), said(two), said(both)}) == 3
    none = ask(subject, [], ASKED[0]["text"]).usage.prompt_tokens
    each = one.usage.prompt_tokens - none
    assert each > 0 and both.usage.prompt_tokens - none >= 2 * each - 2


def test_images_beside_texts(subject: Subject) -> None:
    asked = [*ASKED, *({"images": [], "text": prompt} for prompt in PROMPTS[:4])]
    alone = [said(ask(subject, **each)) for each in asked]
    with ThreadPoolExecutor(len(asked)) as threads:
        together = [said(answer) for answer in threads.map(lambda each: ask(subject, **each), asked)]
    if not subject.engine.tie:
        assert together == alone
    streamed = ask(subject, **ASKED[0], stream=True)
    text = "".join(piece.choices[0].delta.content or "" for piece in streamed if piece.choices)
    assert text == alone[0] or subject.engine.tie


def test_a_broken_image_is_refused_alone(subject: Subject) -> None:
    before = said(ask(subject, **ASKED[0]))
    workers = subject.workers_of(SEER)
    for length in (100, 200, 300):
        broken = base64.b64encode(noise(1, 60, 80)[:length]).decode()
        with pytest.raises(openai.BadRequestError, match="is broken"):
            ask(subject, [broken], "what?")
    assert said(ask(subject, **ASKED[0])) == before and subject.workers_of(SEER) == workers


def test_who_does_not_see_says_so(subject: Subject) -> None:
    subject.need(WRITER)
    with pytest.raises(openai.BadRequestError, match="'writer' reads text only"):
        ask(subject, [ONE], "what?", WRITER)


def test_what_sees_says_so(subject: Subject) -> None:
    _, described = subject.get(f"/v1/models/{subject.need(SEER)}")
    assert "vision" in described["capabilities"] and "image" in described["architecture"]["input_modalities"]
    assert "image" in subject.declared["inputs"]
