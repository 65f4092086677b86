"""How questions about a text are answered: by what a model would say first behind each, which it never says.

The text is computed once. Each question is a short prompt behind it, and computed with others in one batch.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from localai_flask.api.request.model_choice import Chosen
from localai_flask.api.request.waiting import Waiting, wishes_left
from localai_flask.api.work.content.content_bytes import ContentAccess
from localai_flask.api.work.content.images import load_images
from localai_flask.api.work.questions import ask
from localai_flask.api.work.work import Sequences, Work
from localai_flask.chat.answer import Answer
from localai_flask.chat.conversation import Conversation
from localai_flask.chat.decisions.distribution import Distribution, averaged, distribution
from localai_flask.chat.decisions.labels import Tokens, find_labels, label_texts, labels_of, spellings
from localai_flask.chat.decisions.prompt import Frame, frame_of, new_mark, with_place
from localai_flask.chat.decisions.question import Question
from localai_flask.chat.decisions.reader import LogprobReader
from localai_flask.chat.prompt.prompt import chat_prompt
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import ModelInfo, Prompt
from localai_flask.inquiry import Tokenize, Tokenized
from localai_flask.sampling_params import SamplingParams

MOST_PROMPTS = 2048
"""Of one request."""
MOST_CHARACTERS = 1 << 26
"""Of all prompts of a request together, which are in memory at once."""
SLOTS_AHEAD = 2
"""How many times as many prompts as run at once a worker has at most: none of its places is ever empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCall:
    """What is asked; `places` are what the request calls each question, and `input_field` the text."""

    model: str | None
    conversation: Conversation
    questions: tuple[Question, ...]
    places: tuple[str, ...]
    permutations: int
    """In how many orders each question's options are shown."""
    input_field: str
    waiting: Waiting


@dataclass(frozen=True, slots=True)
class Decided:
    """The answers in the order of the questions, and how many tokens they took, each counted once."""

    answers: Sequence[Distribution]
    input_tokens: int
    cached_tokens: int


class _Asked(NamedTuple):
    """One prompt: a question, the order in which its options are shown, and the tokens of their labels."""

    question: int
    order: tuple[int, ...]
    labels: tuple[Tokens, ...]
    prompt: Prompt


def decide(chosen: Chosen, call: DecisionCall) -> Decided:
    """Answer a call's questions; raise `InvalidRequest` for one that this model cannot answer."""
    orders = [min(call.permutations, len(question.options)) for question in call.questions]
    count = sum(orders)
    if count > MOST_PROMPTS:
        raise InvalidRequest(
            f"`permutations` makes {count} prompts of the questions, more than the {MOST_PROMPTS} of one request; ask "
            "for fewer.",
            param="permutations",
        )
    begun = time.monotonic()
    frame, usable = _look(chosen.config, call)
    asked_in = sum(times * question.size for times, question in zip(orders, call.questions, strict=True))
    size = len(frame.before.text) * count + asked_in
    if size > MOST_CHARACTERS:
        raise InvalidRequest(
            f"The {count} prompts, each with the text and its question, have {size:,} characters, more than "
            f"{MOST_CHARACTERS:,}; ask fewer questions at a time, or in fewer orders.",
            param=call.input_field,
        )
    asked = list(_prompts(call, frame, usable))

    def plan(info: ModelInfo) -> Sequences:
        requests = [(each.prompt, _sampling(each)) for each in asked]
        readers = [LogprobReader() for _ in asked]
        return Sequences(requests, readers, call.input_field, at_once=SLOTS_AHEAD * max(info.slots, 1))

    answers = Work(chosen.config, plan, waiting=wishes_left(call.waiting, begun)).answers()
    found = [_read(each, answer) for each, answer in zip(asked, answers, strict=True)]
    grouped = itertools.groupby(zip(asked, found, strict=True), key=lambda pair: pair[0].question)
    told = [averaged((each.order, one) for each, one in group) for _, group in grouped]
    usages = [answer.finish.usage for answer in answers if answer.finish is not None]
    # What the first one finds was there before; the others find what it has computed.
    cached = usages[0].cached_tokens
    computed = sum(usage.prompt_tokens - usage.cached_tokens for usage in usages)
    return Decided(told, cached + computed, cached)


def _look(config: ModelConfig, call: DecisionCall) -> tuple[Frame, dict[str, Tokens]]:
    """Return what stands around a question in this model's prompts, and the labels that may stand for its options."""
    frames: list[Frame] = []
    labels = label_texts(call.questions)
    access = ContentAccess.of_caller()

    def plan(info: ModelInfo) -> Generator[None, None, list[Tokenize]]:
        mark = new_mark()
        conversation = with_place(call.conversation, mark)
        seen, images = yield from load_images(conversation, config, info, access, call.input_field)
        frame = frame_of(chat_prompt(seen, config, info, images), mark, info.control_tokens)
        frames.append(frame)
        ends = ["", *itertools.chain.from_iterable(map(spellings, labels))]
        return [Tokenize(Prompt(frame.behind + end, add_bos=False)) for end in ends]

    before, *rest = (each.tokens for each in ask(config, plan, Tokenized, call.waiting))
    behind = dict(zip(labels, zip(rest[::2], rest[1::2], strict=True), strict=True))
    return frames[-1], find_labels(before, behind)


def _prompts(call: DecisionCall, frame: Frame, usable: Mapping[str, Tokens]) -> Iterator[_Asked]:
    for number, question in enumerate(call.questions):
        labels = labels_of(question, usable, call.places[number])
        for order in question.orders(call.permutations):
            shown = question.placed(order, labels)
            prompt = frame.around(question.written(order, shown))
            yield _Asked(number, order, tuple(usable[label] for label in shown), prompt)


def _sampling(asked: _Asked) -> SamplingParams:
    """Return how to run a prompt of which only the logits at its end are wanted.

    At temperature 0 a model could compute each alone, to repeat its bits.
    """
    tokens = tuple(token for label in asked.labels for token in label)
    return SamplingParams(
        temperature=1.0, top_k=1, max_tokens=1, ignore_eos=True, top_logprobs=0, logprob_token_ids=tokens
    )


def _read(asked: _Asked, answer: Answer) -> Distribution:
    told = {token: logprob for each in answer.logprobs[:1] for token, _, logprob in each.top}
    return distribution(told, asked.labels)
