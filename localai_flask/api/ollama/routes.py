"""Ollama's endpoints that write: each parses, submits and renders."""

from __future__ import annotations

import msgspec
from flask import Response

from localai_flask.api.answer import sse
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.ollama import render, shapes
from localai_flask.api.ollama.errors import DOCUMENTED
from localai_flask.api.ollama.schemas import Call, ChatRequest, GenerateCall, GenerateRequest
from localai_flask.api.ollama.stream import Lines, single
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import Chosen, chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.work import loading
from localai_flask.api.work.chat_plan import bound, chat_plan, count_prompt_tokens
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.work import Sequences, Work
from localai_flask.chat.constraints.constraint import answer_constraint, with_default_form
from localai_flask.chat.output.reader import OutputReader
from localai_flask.config import sampling, traits
from localai_flask.config.model import ModelConfig
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
    params = _shortened(call, chosen.config, sampling.merge(chosen.config, call.asked))
    plan = chat_plan(call.conversation, call.wanted, chosen.config, params, prompt_field=call.prompt_field)
    return _answer(Work(chosen.config, plan, waiting=call.waiting), chosen.name, call, params, is_chat=True)


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
    params = sampling.merge(chosen.config, call.asked)
    if call.raw or call.suffix is not None:
        work = Work(chosen.config, lambda info: _continue(call, chosen.config, params, info), waiting=call.waiting)
    else:
        params = _shortened(call, chosen.config, params)
        plan = chat_plan(call.conversation, call.wanted, chosen.config, params, prompt_field=call.prompt_field)
        work = Work(chosen.config, plan, waiting=call.waiting)
    return _answer(work, chosen.name, call, params, is_chat=False)


def _answer(work: Work, name: str, call: Call, params: SamplingParams, *, is_chat: bool) -> Response:
    with_logprobs = params.top_logprobs is not None
    if call.stream:
        return sse.respond(work, Lines(name, work.record, is_chat=is_chat, with_logprobs=with_logprobs), sse.NDJSON)
    (answer,) = work.answers()
    whole = render.chat_answer if is_chat else render.generated
    return json_response(render.encode(whole(name, answer, work.record, with_logprobs)))


def _load_or_leave(chosen: Chosen, call: Call, *, is_chat: bool) -> Response:
    """Do what a request asks for that has nothing to answer."""
    if call.waiting.keep_alive_s == 0:
        loading.leave(chosen.config)
        return json_response(single(chosen.name, "unload", is_chat=is_chat))
    loading.load(chosen.config, call.waiting.keep_alive_s)
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


def _shortened(call: Call, config: ModelConfig, params: SamplingParams) -> SamplingParams:
    """Keep to a context that the request wants shorter than the model's; raise `ContextOverflow` if none is left."""
    context = traits.context_length(config)
    if call.num_ctx is None or context is None or call.num_ctx >= context:
        return params
    if "tokenize" not in traits.capabilities(config):
        return params
    used = count_prompt_tokens(call.conversation, call.wanted, config)
    if used >= call.num_ctx:
        raise ContextOverflow(used, call.num_ctx, param="options.num_ctx")
    left = call.num_ctx - used
    return msgspec.structs.replace(params, max_tokens=min(params.max_tokens or left, left))
