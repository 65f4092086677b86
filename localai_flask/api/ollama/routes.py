"""Ollama's endpoints that write: each parses, submits and renders."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import msgspec
from flask import Response

from localai_flask.api.answer import sse
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.ollama import render, shapes
from localai_flask.api.ollama.errors import DOCUMENTED
from localai_flask.api.ollama.render import Told
from localai_flask.api.ollama.schemas import Call, ChatRequest, GenerateCall, GenerateRequest
from localai_flask.api.ollama.stream import Lines, single
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import Chosen, chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.waiting import wishes_left
from localai_flask.api.work import loading
from localai_flask.api.work.chat_plan import bound, chat_plan, count_prompt_tokens
from localai_flask.api.work.content.content_bytes import ContentAccess
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.turn_dropper import TurnDropper
from localai_flask.api.work.work import Plan, Sequences, Work
from localai_flask.chat.constraints.constraint import answer_constraint, with_default_form
from localai_flask.chat.conversation import Message
from localai_flask.chat.output.reader import OutputReader
from localai_flask.config import traits
from localai_flask.config.model import ModelConfig
from localai_flask.config.sampling import sampling
from localai_flask.errors import ContextOverflow, UnsupportedParameter
from localai_flask.generation import ModelInfo, Prompt
from localai_flask.sampling_params import SamplingParams

bp = Blueprint("ollama", __name__, description="Ollama's API")


@bp.post("/api/chat")
@bp.arguments(ChatRequest)
@bp.response(200, description="The answer, as lines of JSON; with `stream` false, as one object.")
@bp.doc(operationId="ollamaChat", responses={**openapi.lines(shapes.ChatAnswer), **DOCUMENTED})
@takes_place
@falls_back
def chat(call: Call) -> Response:
    """Answer a conversation, as Ollama does"""
    chosen = chosen_model("chat", call.model)
    if not call.conversation.messages:
        return _load_or_leave(chosen, call, is_chat=True)
    return _answer_conversation(call, chosen, is_chat=True)


@bp.post("/api/generate")
@bp.arguments(GenerateRequest)
@bp.response(200, description="The text, as lines of JSON; with `stream` false, as one object.")
@bp.doc(operationId="ollamaGenerate", responses={**openapi.lines(shapes.Generated), **DOCUMENTED})
@takes_place
@falls_back
def generate(call: GenerateCall) -> Response:
    """Continue a prompt, as Ollama does"""
    chosen = chosen_model("completion", call.model)
    if not call.conversation.messages:
        return _load_or_leave(chosen, call, is_chat=False)
    if not (call.raw or call.suffix is not None):
        return _answer_conversation(call, chosen, is_chat=False)
    params = sampling.merge(chosen.config, call.asked)
    work = Work(chosen.config, lambda info: _continue(call, chosen.config, params, info), waiting=call.waiting)
    return _answer(work, chosen.name, call.stream, Told(work.record, params.top_logprobs is not None), is_chat=False)


def _answer_conversation(call: Call, chosen: Chosen, *, is_chat: bool) -> Response:
    config, params = chosen.config, sampling.merge(chosen.config, call.asked)
    waiting, begun = call.waiting, time.monotonic()
    access = ContentAccess.of_caller()

    def plan(messages: Sequence[Message]) -> Plan:
        talk = dataclasses.replace(call.conversation, messages=tuple(messages))
        return chat_plan(talk, call.wanted, config, params, prompt_field=call.prompt_field, access=access)

    messages: Sequence[Message] = call.conversation.messages
    dropper = TurnDropper(messages, plan, params.max_tokens) if call.truncates else None
    if call.num_ctx is not None:
        messages, left = _fitted(call, config, dropper)
        waiting = wishes_left(waiting, begun)
        if left:
            params = msgspec.structs.replace(params, max_tokens=min(params.max_tokens or left, left))
    work = Work(config, plan(messages), dropper, waiting=waiting)
    told = Told(work.record, params.top_logprobs is not None, dropper)
    return _answer(work, chosen.name, call.stream, told, is_chat=is_chat)


def _answer(work: Work, name: str, stream: bool, told: Told, *, is_chat: bool) -> Response:
    if stream:
        return sse.respond(work, Lines(name, told, is_chat=is_chat), sse.NDJSON)
    (answer,) = work.answers()
    whole = render.chat_answer if is_chat else render.generated
    return json_response(render.encode(whole(name, answer, told)))


def _load_or_leave(chosen: Chosen, call: Call, *, is_chat: bool) -> Response:
    """Do what a request asks for that has nothing to answer."""
    if call.waiting.keep_alive_s == 0:
        loading.leave(chosen.config)
        return json_response(single(chosen.name, "unload", is_chat=is_chat))
    loading.load(chosen.config, call.waiting)
    return json_response(single(chosen.name, "load", is_chat=is_chat))


def _continue(call: GenerateCall, config: ModelConfig, params: SamplingParams, info: ModelInfo) -> Sequences:
    if call.suffix is not None and "infill" not in info.capabilities:
        raise UnsupportedParameter(
            f"`suffix` asks for the middle of a text, which the model {config.name!r} was not made to write; "
            "leave it out or choose a model with tokens for it.",
            param="suffix",
        )
    prompt = Prompt(call.prompt, suffix=call.suffix)
    held = bound(params, answer_constraint(with_default_form(call.wanted, config), info))
    return Sequences([(prompt, held)], [OutputReader()], call.prompt_field)


def _fitted(call: Call, config: ModelConfig, dropper: TurnDropper | None) -> tuple[Sequence[Message], int]:
    """Return what of a conversation fits into the context that it wants, and how many tokens are left for the answer.

    These are 0 if nothing is to be done: the model takes no more, or does not tell. Raises `ContextOverflow`.
    """
    waiting, begun = call.waiting, time.monotonic()
    context, wanted, messages = traits.context_length(config), call.num_ctx, call.conversation.messages
    if wanted is None or context is None or wanted >= context or "tokenize" not in traits.capabilities(config):
        return messages, 0
    while True:
        talk = dataclasses.replace(call.conversation, messages=messages)
        used = count_prompt_tokens(talk, call.wanted, config, waiting)
        waiting = wishes_left(call.waiting, begun)
        if used < wanted:
            return messages, wanted - used
        kept = dropper.drop(used, wanted) if dropper is not None else None
        if kept is None:
            said = f"This request's maximum context length is {wanted} tokens (`num_ctx`), but the prompt has {used}; "
            said += "ask for more, or shorten the prompt."
            raise ContextOverflow(used, wanted, param="options.num_ctx", message=said)
        messages = tuple(kept)
