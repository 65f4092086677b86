"""From a conversation to the sequences that answer it: what every API family does between parsing and rendering."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import msgspec

from localai_flask.api.request.waiting import NO_WISHES, Waiting
from localai_flask.api.work.content.content_bytes import ContentAccess
from localai_flask.api.work.content.documents import with_documents_read
from localai_flask.api.work.content.images import load_images, most_images
from localai_flask.api.work.questions import ask
from localai_flask.api.work.work import Sequences
from localai_flask.chat.constraints.constraint import (
    Wanted,
    answer_constraint,
    can_constrain_calls,
    with_default_form,
    with_no_action,
)
from localai_flask.chat.constraints.tool_checks import check_tools
from localai_flask.chat.conversation import Conversation
from localai_flask.chat.prompt.prompt import chat_prompt
from localai_flask.config.model import ModelConfig
from localai_flask.config.sampling import sampling
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Constraint, Image, ModelInfo, Prompt, ThinkingBudget
from localai_flask.inquiry import Tokenize, Tokenized
from localai_flask.sampling_params import SamplingParams

ChatPlan = Callable[[ModelInfo], Generator[None, None, Sequences]]


def chat_plan(
    conversation: Conversation,
    wanted: Wanted,
    config: ModelConfig,
    params: SamplingParams,
    n: int = 1,
    prompt_field: str | None = None,
    access: ContentAccess | None = None,
) -> ChatPlan:
    """Plan `n` answers to a conversation, for `Work`, which knows the model's template once it is loaded.

    `prompt_field` is the request's field that a conversation which is too long is to be blamed on; `access` is to what
    the conversation names, and is taken from the request if none is given.
    """
    check_tools(conversation.tools)
    reach = access or ContentAccess.of_caller()

    def plan(info: ModelInfo) -> Generator[None, None, Sequences]:
        bounds = with_default_form(wanted, config)
        seen, images = yield from _with_media(conversation, config, info, reach, prompt_field or "messages")
        talk = _as_said(seen, bounds, config, info)
        chat = chat_prompt(talk, config, info, images)
        constraint = answer_constraint(bounds, info, talk.tools, chat.tool_format, chat.reasoning, chat.once)
        check_budget(chat.thinking, info, conversation)
        requests = choices([chat.prompt], chat.sampling(params, constraint), n)
        return Sequences(requests, [chat.reader() for _ in range(n)], prompt_field)

    return plan


def count_prompt_tokens(
    conversation: Conversation, wanted: Wanted, config: ModelConfig, waiting: Waiting = NO_WISHES
) -> int:
    """Count the tokens of a conversation's prompt, as a generation would."""
    return len(tokenized_prompt(conversation, wanted, config, waiting)[1])


def tokenized_prompt(
    conversation: Conversation, wanted: Wanted, config: ModelConfig, waiting: Waiting = NO_WISHES
) -> tuple[Prompt, Sequence[int]]:
    """Return the prompt that a generation would begin with, and its tokens."""
    check_tools(conversation.tools)
    access = ContentAccess.of_caller()
    prompts: list[Prompt] = []

    def plan(info: ModelInfo) -> Generator[None, None, list[Tokenize]]:
        seen, images = yield from _with_media(conversation, config, info, access, "messages")
        talk = _as_said(seen, with_default_form(wanted, config), config, info)
        prompts.append(chat_prompt(talk, config, info, images).prompt)
        return [Tokenize(prompts[-1])]

    (tokenized,) = ask(config, plan, Tokenized, waiting)
    return prompts[-1], tokenized.tokens


def _with_media(
    conversation: Conversation, config: ModelConfig, info: ModelInfo, access: ContentAccess, field: str
) -> Generator[None, None, tuple[Conversation, dict[str, Image]]]:
    read = yield from with_documents_read(conversation, access, field, most_images(config, info))
    return (yield from load_images(read, config, info, access, field))


def _as_said(conversation: Conversation, bounds: Wanted, config: ModelConfig, info: ModelInfo) -> Conversation:
    return with_no_action(conversation, bounds, config.function) if can_constrain_calls(info) else conversation


def check_budget(budget: ThinkingBudget | None, info: ModelInfo, conversation: Conversation) -> None:
    """Raise `UnsupportedParameter` if thinking is to be limited by an engine that cannot end it."""
    if budget is not None and "end_thinking" not in info.capabilities:
        field = conversation.thinking_field
        raise UnsupportedParameter(
            f"`{field}` asks for thinking to be ended, which the {info.backend} backend does not do; leave it out or "
            "choose a model of another backend, such as llama-cpp.",
            param=field,
        )


def choices(prompts: Sequence[Prompt], params: SamplingParams, n: int) -> list[tuple[Prompt, SamplingParams]]:
    """`n` sequences for each prompt, next to each other; with a seed, each choice has the next one."""
    seeds = [params.seed if params.seed < 0 else (params.seed + choice) % sampling.SEEDS for choice in range(n)]
    varied = [params if seed == params.seed else msgspec.structs.replace(params, seed=seed) for seed in seeds]
    return [(prompt, each) for prompt in prompts for each in varied]


def bound(params: SamplingParams, constraint: Constraint | None) -> SamplingParams:
    """Hold the sequences to a form, if there is one."""
    return params if constraint is None else msgspec.structs.replace(params, constraint=constraint)
