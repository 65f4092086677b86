"""From answers to OpenAI's whole responses, and the tables and small pieces that the streamed ones share."""

from __future__ import annotations

import codecs
import hashlib
import time
import uuid
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from localai_flask import __version__
from localai_flask.api.answer.family_words import CHAT, LEGACY_CHAT, FamilyWords
from localai_flask.api.answer.logprobs import finite, render_logprobs, shown
from localai_flask.api.conversation.custom_tools import read_input
from localai_flask.api.openai import shapes
from localai_flask.api.openai.timings import timings
from localai_flask.chat.answer import Answer, Finish
from localai_flask.chat.conversation import ToolCall
from localai_flask.config.model import ModelConfig
from localai_flask.generation import TokenLogprob

REPLACEMENT = "\ufffd"

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Identity:
    """What all parts of one response have in common."""

    id: str
    created: int
    model: str
    fingerprint: str

    @classmethod
    def new(cls, prefix: str, name: str, config: ModelConfig) -> Identity:
        """Make the identity of a response by the model of this name; `prefix` tells the kind of response."""
        state = hashlib.sha256(f"{__version__}/{config.key}".encode()).hexdigest()
        return cls(f"{prefix}-{uuid.uuid4().hex}", int(time.time()), name, f"fp_{state[:10]}")


def chat_completion(
    identity: Identity,
    answers: Sequence[Answer],
    n: int,
    with_logprobs: bool,
    is_legacy: bool = False,
    customs: Container[str] = (),
) -> bytes:
    """Render a whole chat completion; with `is_legacy`, calls as they were before there were tools.

    `customs` are the tools that are called with a text.
    """
    choices = []
    words = LEGACY_CHAT if is_legacy else CHAT
    for index, answer in enumerate(answers):
        logprobs = chat_logprobs(answer.logprobs) if with_logprobs else None
        choices.append(shapes.ChatChoice(index, _message(answer, is_legacy, customs), logprobs, _word(answer, words)))
    finishes = finishes_of(answers)
    head = identity.id, identity.created, identity.model, identity.fingerprint
    return encode(shapes.ChatCompletion(*head, choices, usage(finishes, n), timings(finishes)))


def completion(
    identity: Identity,
    answers: Sequence[Answer],
    with_logprobs: bool,
    echoed: Sequence[str | None],
    made: Sequence[Finish],
    count: int,
) -> bytes:
    """Render a whole completion; `echoed` is the text to put before each answer, None that of the prompt's tokens.

    `made` are the ends of all answers, `count` to each prompt, also of those that were not the best.
    """
    choices = []
    for index, (answer, echo) in enumerate(zip(answers, echoed, strict=True)):
        before = text_of(answer.prompt_logprobs) if echo is None else echo
        logprobs = None
        if with_logprobs:
            legacy = LegacyLogprobs(len(before))
            logprobs = legacy.prompt(answer.prompt_logprobs)
            legacy.add(answer.logprobs, logprobs)
        choices.append(shapes.CompletionChoice(index, before + answer.content, logprobs, _word(answer)))
    head = identity.id, identity.created, identity.model, identity.fingerprint
    return encode(shapes.Completion(*head, choices, usage(made, count), timings(made)))


def edit(identity: Identity, answers: Sequence[Answer], n: int) -> bytes:
    """Render an edit."""
    choices = [shapes.EditChoice(index, answer.content, _word(answer)) for index, answer in enumerate(answers)]
    tokens = usage(finishes_of(answers), n)
    return encode(shapes.Edit(identity.id, identity.created, identity.model, choices, tokens))


def usage(finishes: Sequence[Finish], n: int) -> shapes.UsageShape:
    """Add up the tokens of all sequences; the `n` choices of one prompt share it, so it counts once."""
    prompts = [finish.usage for finish in finishes[::n]]
    prompt_tokens = sum(one.prompt_tokens for one in prompts)
    completion_tokens = sum(finish.usage.completion_tokens for finish in finishes)
    cached = shapes.PromptTokensDetails(sum(one.cached_tokens for one in prompts))
    thinking = shapes.CompletionTokensDetails(sum(finish.usage.reasoning_tokens for finish in finishes))
    return shapes.UsageShape(prompt_tokens, completion_tokens, prompt_tokens + completion_tokens, cached, thinking)


def chat_logprobs(logprobs: Iterable[TokenLogprob]) -> shapes.ChatLogprobs:
    """Render log-probabilities in the shape of chat completions."""
    return shapes.ChatLogprobs(render_logprobs(logprobs))


class LegacyLogprobs:
    """Log-probabilities in the shape of completions, whose offsets count on through one choice's text."""

    def __init__(self, offset: int):
        self._offset = offset
        self._decoder = _decoder()

    def prompt(self, logprobs: Sequence[TokenLogprob]) -> shapes.CompletionLogprobs:
        """Render those of the echoed prompt, before any others; a space before it is not part of its text."""
        length, self._offset = self._offset, self._offset - len(text_of(logprobs))
        rendered = self.add(logprobs)
        if logprobs:
            rendered.token_logprobs[0] = rendered.top_logprobs[0] = None
            rendered.text_offset = [max(offset, 0) for offset in rendered.text_offset]
        self._offset = length
        self._decoder.reset()
        return rendered

    def add(
        self, logprobs: Iterable[TokenLogprob], rendered: shapes.CompletionLogprobs | None = None
    ) -> shapes.CompletionLogprobs:
        """Render the next tokens' log-probabilities, behind others if these are given."""
        rendered = rendered or shapes.CompletionLogprobs([], [], [], [])
        for entry in logprobs:
            rendered.tokens.append(shown(entry.text))
            rendered.token_logprobs.append(finite(entry.logprob))
            rendered.top_logprobs.append(_by_text(entry.top))
            rendered.text_offset.append(self._offset)
            self._offset += len(self._decoder.decode(entry.text))
        return rendered


def _by_text(top: Iterable[tuple[int, bytes, float]]) -> dict[str, float]:
    """Return likeliest tokens by their texts, as many as there are.

    Tokens that are no text of their own, or have that of another, go by their bytes as OpenAI's API writes them, or
    else by their ids as vLLM does.
    """
    found: dict[str, float] = {}
    for token, data, logprob in top:
        name = shown(data)
        if not name or name in found or REPLACEMENT in name:
            name = "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
        if not data or name in found:
            name = f"token_id:{token}"
        found[name] = finite(logprob)
    return found


def text_of(logprobs: Iterable[TokenLogprob]) -> str:
    """Put the tokens' bytes together; those of an unfinished character at the end are left out."""
    return _decoder().decode(b"".join(entry.text for entry in logprobs))


def tool_call(call: ToolCall) -> shapes.ToolCallShape:
    return shapes.ToolCallShape(call.id, shapes.FunctionShape(call.name, call.arguments))


def custom_call(call: ToolCall) -> shapes.CustomCallShape:
    return shapes.CustomCallShape(call.id, shapes.CustomShape(call.name, read_input(call.arguments)))


def _message(answer: Answer, is_legacy: bool, customs: Container[str]) -> shapes.AssistantMessage:
    thoughts = answer.reasoning or msgspec.UNSET
    message = shapes.AssistantMessage(answer.content, reasoning_content=thoughts, reasoning=thoughts)
    if answer.tool_calls:
        message.content = answer.content or None
        if is_legacy:
            message.function_call = tool_call(answer.tool_calls[0]).function
        else:
            message.tool_calls = [
                custom_call(call) if call.name in customs else tool_call(call) for call in answer.tool_calls
            ]
    return message


def _word(answer: Answer, words: FamilyWords = CHAT) -> shapes.FinishWord:
    assert answer.finish is not None, "a collected answer has an end"
    word: shapes.FinishWord = words.finish[answer.finish.reason]
    return word


def finishes_of(answers: Sequence[Answer]) -> list[Finish]:
    return [answer.finish for answer in answers if answer.finish is not None]


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("replace")
