"""How a model writes its calls, found from its own chat template: what surrounds the marks in a rendered call.

For the many templates that no table knows. Two calls with marked names and arguments are rendered, and the text around
the marks is the format: JSON objects, names with JSON behind them, or a tag for each argument.
"""

from __future__ import annotations

import functools
import json
import os
import re

import regex

from localai_flask.chat import turns
from localai_flask.chat.answer import Answer
from localai_flask.chat.conversation import Conversation, Message, Tool, ToolCall
from localai_flask.chat.formats import ToolFormat, find_format
from localai_flask.chat.formats.base import CallSyntax, Parameters, Written, flexible
from localai_flask.chat.formats.jsontext import calls
from localai_flask.chat.formats.named import NAME, named
from localai_flask.chat.formats.tagged import tagged
from localai_flask.chat.output import OutputReader
from localai_flask.chat.reasoning import KNOWN_PAIRS
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Delta, Finished, FinishReason, ModelInfo, Usage

_NAMES, _KEYS, _VALUES = ("qqfirst", "qqsecond"), ("kkone", "kktwo"), ("vvone", "vvtwo")
_ARGUMENTS = dict(zip(_KEYS, _VALUES, strict=True))
_TOKENS = re.compile(r"<[^<>\s]*>?|\[/?[A-Z_]+\]|\w+|\s|.", re.DOTALL)
_MARK = re.compile(r"\s*(<[^<>\s]+>|\[[A-Z_]+\])")
_ANSWERED = Message(role="assistant", content="pp")
_INFO = ModelInfo(backend="", engine_version="", context_length=0, capabilities=frozenset())


@functools.lru_cache(maxsize=64)
def discover(template: str) -> ToolFormat | None:
    """Find how calls are written; None if the template shows no tools, or its calls cannot be told from text.

    What is found has to read the template's own calls back.
    """
    try:
        text = _written(template)
    except InvalidRequest:
        return None
    form = None if text is None else _format_of(text)
    return form if form is not None and text is not None and _reads(form, text) else None


@functools.lru_cache(maxsize=64)
def shows_several_calls(template: str) -> bool:
    """Return whether a template writes all calls of a turn; some take the first one only, or refuse several."""
    if "tool_calls" not in template:
        return False
    pairs = zip(_NAMES, _ARGUMENTS.items(), strict=True)
    made = tuple(ToolCall(f"call_{name}", name, json.dumps(dict([pair]))) for name, pair in pairs)
    user = Message(role="user", content="uu")
    results = tuple(Message(role="tool", content="rr", name=call.name, tool_call_id=call.id) for call in made)
    turn = (user, Message(role="assistant", tool_calls=made))
    # Some templates take calls with their results only, others no results without an answer to them.
    return any(_shows(template, talk) for talk in (turn, (*turn, *results), (*turn, *results, _ANSWERED, user)))


def _shows(template: str, messages: tuple[Message, ...]) -> bool:
    tools = tuple(Tool(name=name, parameters={"type": "object", "properties": {}}) for name in _NAMES)
    talk = Conversation(messages=messages, tools=tools)
    try:
        text = turns.render(talk, template, find_format(template), turns.variables(talk, ModelConfig(name=""), _INFO))
    except InvalidRequest:
        return False
    return all(value in text for value in _VALUES)


def _reads(form: ToolFormat, text: str) -> bool:
    reader = OutputReader(form, functions={name: {} for name in _NAMES})
    answer = Answer()
    for event in [*reader.feed(Delta(text)), *reader.finish(Finished(FinishReason.EOS, Usage(0, 0)))]:
        answer.add(event)
    try:
        made = [(call.name, json.loads(call.arguments)) for call in answer.tool_calls]
    except ValueError:
        return False
    return made == [(name, _ARGUMENTS) for name in _NAMES] and not answer.content.strip()


def _written(template: str) -> str | None:
    """Return what the template writes of a turn with two calls, without its frame; None if it does not show tools."""
    tools = tuple(Tool(name=name, parameters={"type": "object", "properties": {}}) for name in _NAMES)
    user = Message(role="user", content="uu")

    def render(*messages: Message, goes_on: bool = False, with_tools: bool = True) -> str:
        talk = Conversation(messages=messages, tools=tools if with_tools else ())
        variables = {**turns.variables(talk, ModelConfig(name=""), _INFO), "add_generation_prompt": goes_on}
        return turns.render(talk, template, None, variables)

    asked = render(user)
    if _NAMES[0] not in asked:
        return None
    made = tuple(ToolCall(f"call_{name}", name, json.dumps(_ARGUMENTS)) for name in _NAMES)
    told = render(user, Message(role="assistant", tool_calls=made)).removeprefix(asked)
    plain = render(user, Message(role="assistant", content="pp")).removeprefix(asked)
    head, _, tail = plain.rpartition("pp")
    shared = os.path.commonprefix([told, head])  # noqa: RUF071  these are texts, no paths
    text = told.removeprefix(shared).removesuffix(tail)
    for pair in KNOWN_PAIRS:
        text = text.rpartition(pair.end)[2]
    return text


def _format_of(text: str) -> ToolFormat | None:
    parts = re.split(f"({'|'.join(_NAMES)})", text)
    if len(parts) != 5:
        return None
    front, _, middle, _, back = parts
    for written in (json.dumps(_ARGUMENTS), json.dumps(_ARGUMENTS, separators=(",", ":"))):
        if written in middle and written in back:
            between, _, joint = middle.partition(written)
            again, _, end = back.partition(written)
            return _with_json(front, between, joint, end) if between == again else None
    return _with_tags(front, middle, back)


def _with_json(front: str, between: str, joint: str, end: str) -> ToolFormat | None:
    before, after = _common_end(front, joint), _common_start(joint, end)
    opening, closing = front.removesuffix(before), end.removeprefix(after)
    mark = _MARK.match(front)
    if mark is None or len(before) + len(after) > len(joint):
        return None
    is_object = before.endswith('"')
    last = [token for token in _TOKENS.findall(end) if _MARK.fullmatch(token)]
    written = Written(
        trigger=mark[1],
        opening=opening.lstrip(),
        before=(before.removesuffix('"') if is_object else before) if opening else before.lstrip().removesuffix('"'),
        is_json_name=is_object,
        between=between.removeprefix('"') if is_object else between,
        after=after,
        joint=joint.removeprefix(after).removesuffix(before),
        closing=closing.rstrip(),
    )
    if is_object:
        read = calls(last[-1] if last else "")
    else:
        head = flexible((front if not opening else before).lstrip().removeprefix(mark[1] if not opening else ""))
        read = named(head + NAME + flexible(between), flexible(after) if after.strip() else "", flexible(closing))
    return ToolFormat(
        "discovered",
        (CallSyntax(mark[1], read),),
        after.strip() if not is_object else "",
        trailers=tuple(last[-1:]),
        preserved=(mark[1], *last),
        written=written,
    )


def _with_tags(front: str, middle: str, back: str) -> ToolFormat | None:
    cut = f"{_KEYS[0]}(.*?){_VALUES[0]}(.*?){_KEYS[1]}(.*?){_VALUES[1]}"
    first, second = (re.split(cut, part, flags=re.DOTALL) for part in (middle, back))
    mark = _MARK.match(front)
    if len(first) != 5 or len(second) != 5 or first[:4] != second[:4] or first[1] != first[3] or mark is None:
        return None
    head, infix, step, _, joint = first
    key = _common_end(head, step)
    value_end, between, end = step.removesuffix(key), head.removesuffix(key), second[4]
    before, after = _common_end(front, joint), _common_start(joint, end)
    opening, tail, closing = front.removesuffix(before), after.removeprefix(value_end), end.removeprefix(after)
    if not value_end.strip() or not key.strip() or len(before) + len(after) > len(joint):
        return None
    start = before if opening else before.lstrip().removeprefix(mark[1])
    read = tagged(
        flexible(start) + NAME + flexible(between),
        f"{flexible(key)}(?P<key>[^<>]+?){flexible(infix)}",
        value_end.strip(),
        flexible(tail),
        flexible(closing) if closing.strip() else "",
    )
    return ToolFormat(
        "discovered",
        (CallSyntax(mark[1], read),),
        tail.strip(),
        trailers=tuple(filter(None, (closing.strip(),))),
        preserved=tuple(regex.findall(r"<[^<>\s]+>", front + middle + back)),
        written=Written(
            trigger=mark[1],
            opening=opening.lstrip(),
            before=before if opening else before.lstrip(),
            between=between,
            after=tail,
            joint=joint.removeprefix(after).removesuffix(before),
            closing=closing.rstrip(),
            parameters=Parameters(before=key, text=infix, json=infix, after=value_end),
        ),
    )


def _common_end(one: str, other: str) -> str:
    """Return the longest common ending, in whole tokens."""
    kept = []
    for left, right in zip(reversed(_TOKENS.findall(one)), reversed(_TOKENS.findall(other)), strict=False):
        if left != right:
            break
        kept.append(left)
    return "".join(reversed(kept))


def _common_start(one: str, other: str) -> str:
    """Return the longest common beginning, in whole tokens."""
    kept = []
    for left, right in zip(_TOKENS.findall(one), _TOKENS.findall(other), strict=False):
        if left != right:
            break
        kept.append(left)
    return "".join(kept)
