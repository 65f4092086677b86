"""OpenAI's endpoints: each parses, submits and renders."""

from __future__ import annotations

import msgspec
from flask import Response

from localai_flask.api import current
from localai_flask.api.answer import sse
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.answer.rendered import Rendered, rendered
from localai_flask.api.conversation.tool_choice import with_left_out
from localai_flask.api.door.places import takes_place
from localai_flask.api.openai import render, shapes
from localai_flask.api.openai.best_of import best, judged
from localai_flask.api.openai.calls import ChatCall, CompletionCall, EditCall
from localai_flask.api.openai.chunks import ChatChunks, CompletionChunks, LegacyChatChunks
from localai_flask.api.openai.render import Identity
from localai_flask.api.openai.schemas import ChatRequest, CompletionRequest, EditRequest
from localai_flask.api.pages import openapi
from localai_flask.api.request.model_choice import asked_name, chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.streams import kept_streams
from localai_flask.api.work.chat_plan import bound, chat_plan, choices, tokenized_prompt
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.questions import ask
from localai_flask.api.work.work import Sequences, Work
from localai_flask.chat.answer import Reader
from localai_flask.chat.constraints.constraint import answer_constraint, with_default_form
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.prompt.prompt import completion_prompt, edit_prompt
from localai_flask.config.sampling import sampling
from localai_flask.errors import InvalidRequest, UnsupportedParameter
from localai_flask.generation import ModelInfo
from localai_flask.inquiry import Tokenize, Tokenized
from localai_flask.sampling_params import SamplingParams

bp = Blueprint("openai", __name__, description="OpenAI's API")


@bp.post("/chat/completions")
@bp.alias("/engines/<path:model>/chat/completions", methods=["POST"])
@bp.arguments(ChatRequest)
@bp.response(200, description="The answer; with `stream`, as server-sent events.")
@bp.doc(
    operationId="createChatCompletion",
    parameters=[kept_streams.DOCUMENTED_HEADER],
    responses=openapi.streamed(shapes.ChatCompletion),
)
@takes_place
@falls_back
def create_chat_completion(call: ChatCall, model: str | None = None) -> Response:
    """Answer a conversation"""
    if call.stream and (conversation_id := kept_streams.conversation_of_header()):
        return kept_streams.begin(conversation_id, call.body, asked_name(call.model, model))
    name, config = chosen_model("chat", call.model, model)
    n = call.n or config.parameters.n
    params = sampling.merge(config, call.asked)

    identity = Identity.new("chatcmpl", name, config)
    current.record().answer_id = identity.id
    plan = chat_plan(call.conversation, call.wanted, config, params, n, "messages")
    work = Work(config, plan, waiting=call.waiting)
    if call.stream:
        chunks = LegacyChatChunks if call.is_legacy else ChatChunks
        so_far = work.so_far if call.timings_per_token else None
        streamed = sse.respond(work, chunks(identity, n, call.include_usage, so_far, call.customs))
        return with_left_out(streamed, call.left_out)
    with_logprobs = params.top_logprobs is not None
    body = render.chat_completion(identity, work.answers(), n, with_logprobs, call.is_legacy, call.customs)
    return with_left_out(json_response(body), call.left_out)


@bp.post("/apply-template")
@bp.arguments(ChatRequest)
@bp.response(200, openapi.schema(shapes.AppliedTemplate), description="The prompt, as llama-server names it.")
@bp.doc(operationId="applyTemplate")
@takes_place
def apply_template(call: ChatCall) -> Response:
    """Return the prompt that a model gets for a conversation, without an answer"""
    _, config = chosen_model("chat", call.model)
    prompt, tokens = tokenized_prompt(call.conversation, call.wanted, config, call.waiting)
    return json_response(shapes.AppliedTemplate(prompt.text, len(tokens)))


@bp.post("/chat/completions/render")
@bp.arguments(ChatRequest)
@bp.response(200, openapi.schema(Rendered), description="The prompt.")
@bp.doc(operationId="renderChatCompletion")
@takes_place
def render_chat_completion(call: ChatCall) -> Response:
    """Return the prompt of a chat completion as text and tokens, without an answer"""
    name, config = chosen_model("chat", call.model)
    return json_response(rendered(name, *tokenized_prompt(call.conversation, call.wanted, config, call.waiting)))


@bp.post("/completions/render")
@bp.arguments(CompletionRequest)
@bp.response(200, openapi.schema_of_list(Rendered), description="The prompts, in their order.")
@bp.doc(operationId="renderCompletion")
@takes_place
def render_completion(call: CompletionCall) -> Response:
    """Return the prompts of a completion as text and tokens, without an answer"""
    name, config = chosen_model("completion", call.model)
    prompts = [completion_prompt(prompt, config, call.suffix) for prompt in call.prompts]
    found = ask(config, [Tokenize(prompt) for prompt in prompts], Tokenized, call.waiting)
    return json_response([rendered(name, *pair) for pair in zip(prompts, (each.tokens for each in found), strict=True)])


@bp.post("/completions")
@bp.alias("/engines/<path:model>/completions", methods=["POST"])
@bp.arguments(CompletionRequest)
@bp.response(200, description="The texts; with `stream`, as server-sent events.")
@bp.doc(operationId="createCompletion", responses=openapi.streamed(shapes.Completion))
@takes_place
@falls_back
def create_completion(call: CompletionCall, model: str | None = None) -> Response:
    """Continue one or more texts"""
    name, config = chosen_model("completion", call.model, model)
    n = call.n or config.parameters.n
    params = sampling.merge(config, call.asked)
    echo = config.parameters.echo if call.echo is None else call.echo
    echoed = _echoed(call, echo, params, n)
    if echo and params.top_logprobs is not None:
        params = msgspec.structs.replace(params, prompt_logprobs=True)
    prompts = [completion_prompt(prompt, config, call.suffix) for prompt in call.prompts]
    wanted = with_default_form(call.wanted, config)
    count = _how_many(call, n)
    run_with = judged(params) if count > n else params

    def plan(info: ModelInfo) -> Sequences:
        if call.suffix is not None and "infill" not in info.capabilities:
            raise UnsupportedParameter(
                f"`suffix` asks for the middle of a text, which the model {config.name!r} was not made to write; "
                "leave it out or choose a model with tokens for it.",
                param="suffix",
            )
        ending = bound(run_with, answer_constraint(wanted, info))
        readers: list[Reader] = [OutputReader() for _ in range(len(prompts) * count)]
        return Sequences(choices(prompts, ending, count), readers, "prompt")

    identity = Identity.new("cmpl", name, config)
    work = Work(config, plan, waiting=call.waiting)
    if call.stream:
        so_far = work.so_far if call.timings_per_token else None
        return sse.respond(work, CompletionChunks(identity, n, call.include_usage, so_far, echoed))
    made = work.answers()
    kept = made if count == n else best(made, count, n)
    with_logprobs = params.top_logprobs is not None
    return json_response(render.completion(identity, kept, with_logprobs, echoed, render.finishes_of(made), count))


@bp.post("/edits")
@bp.alias("/engines/<path:model>/edits", methods=["POST"])
@bp.arguments(EditRequest)
@bp.response(200, openapi.schema(shapes.Edit), description="The edited texts.")
@bp.doc(operationId="createEdit")
@takes_place
@falls_back
def create_edit(call: EditCall, model: str | None = None) -> Response:
    """Edit one or more texts as an instruction says"""
    name, config = chosen_model("edit", call.model, model)
    n = call.n or config.parameters.n
    params = sampling.merge(config, call.asked)
    wanted = with_default_form(call.wanted, config)

    def plan(info: ModelInfo) -> Sequences:
        chats = [edit_prompt(call.instruction, text, config, info) for text in call.inputs]
        requests = []
        for chat in chats:
            ending = chat.sampling(params, answer_constraint(wanted, info, reasoning=chat.reasoning))
            requests += choices([chat.prompt], ending, n)
        return Sequences(requests, [chat.reader() for chat in chats for _ in range(n)])

    identity = Identity.new("edit", name, config)
    return json_response(render.edit(identity, Work(config, plan, waiting=call.waiting).answers(), n))


def _how_many(call: CompletionCall, n: int) -> int:
    """How many answers to make to each prompt; raise `InvalidRequest` if that does not go with what is wanted."""
    count = n if call.best_of is None else call.best_of
    if count < n:
        raise InvalidRequest(f"`best_of` is {count} but must be at least `n`, which is {n}.", param="best_of")
    if count > n and call.stream:
        raise InvalidRequest(
            "`best_of` above `n` cannot be streamed, as the best are known at the end only; send `stream: false`.",
            param="best_of",
        )
    return count


def _echoed(call: CompletionCall, echo: bool, params: SamplingParams, n: int) -> list[str | None]:
    """The text to put before each choice, None for that of the prompt's tokens; raise `InvalidRequest` if none can."""
    if call.needs_echo and not echo:
        said = "must be at least 1, or `echo` true to get the prompt back"
        raise InvalidRequest(f"`{call.needs_echo}` {said}.", param=call.needs_echo)
    if not echo:
        return [""] * (n * len(call.prompts))
    texts = [prompt if isinstance(prompt, str) else None for prompt in call.prompts]
    if None in texts and params.top_logprobs is None:
        raise InvalidRequest(
            "`echo` of a prompt of token ids needs `logprobs`; ask for them or send the prompt as text.", param="echo"
        )
    return [text for text in texts for _ in range(n)]
