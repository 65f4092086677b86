"""From a call to a response that the model works on, whether a request waits for it or a background run does."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from localai_flask.api.responses import shapes
from localai_flask.api.responses.calls import ResponseCall
from localai_flask.api.responses.input.items import new_id
from localai_flask.api.responses.response_writer import ResponseWriter, WritingOptions
from localai_flask.api.work.chat_plan import chat_plan
from localai_flask.api.work.content.content_bytes import ContentAccess
from localai_flask.api.work.turn_dropper import TurnDropper
from localai_flask.api.work.work import Plan, Watching, Work
from localai_flask.chat.conversation import Message
from localai_flask.config.model import ModelConfig
from localai_flask.sampling_params import SamplingParams

CLIENT_NAMES = {"max_tokens": "max_output_tokens"}
"""What the client calls our sampling parameters."""


def new_response(call: ResponseCall, name: str, params: SamplingParams) -> shapes.Response:
    """Make the response object as it is before the model has said anything."""
    return shapes.Response(
        id=new_id("resp"),
        created_at=int(time.time()),
        background=call.background,
        instructions=call.instructions or None,
        max_output_tokens=0 if params.prompt_only else call.asked.get("max_tokens") or None,
        max_tool_calls=call.max_tool_calls,
        model=name,
        parallel_tool_calls=call.parallel is not False,
        previous_response_id=call.previous_id,
        conversation=shapes.ConversationName(call.conversation_id) if call.conversation_id else msgspec.UNSET,
        prompt_cache_key=call.prompt_cache_key,
        reasoning=call.shown_reasoning,
        safety_identifier=call.safety_identifier,
        store=call.store,
        temperature=params.temperature,
        top_p=params.top_p,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        text=shapes.TextOptions(call.shown_format),
        tool_choice=call.shown_choice,
        tools=call.shown_tools,
        top_logprobs=params.top_logprobs or 0,
        truncation="auto" if call.truncates else "disabled",
        user=call.user,
        metadata=dict(call.metadata),
    )


def writing_options(call: ResponseCall) -> WritingOptions:
    offered = {each.tool.name: each for each in call.offered}
    return WritingOptions(call.with_logprobs, call.summarizes, call.seals_thoughts, call.max_tool_calls, offered)


def begin_work(
    call: ResponseCall,
    messages: Sequence[Message],
    config: ModelConfig,
    params: SamplingParams,
    writer: ResponseWriter,
    watch: Watching | None = None,
) -> Work:
    """Begin to have the model answer."""
    access = ContentAccess.of_caller()

    def plan(kept: Sequence[Message]) -> Plan:
        return chat_plan(call.conversation(kept), call.wanted, config, params, prompt_field="input", access=access)

    def note(dropped: int) -> None:
        writer.response.dropped_turns = dropped

    beside = len(call.instructions)
    shrink = TurnDropper(messages, plan, params.max_tokens, beside, note) if call.truncates else None
    return Work(config, plan(messages), shrink, watch, call.waiting)
