"""From what a request asks of an answer's form to the one constraint that an engine enforces.

Pure. A form that cannot be expressed is refused here by name; whether an engine can keep a schema's every keyword, the
engine says.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from localai_flask.chat.conversation import Tool
from localai_flask.chat.formats import ToolFormat
from localai_flask.chat.reasoning import TagPair
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest, UnsupportedParameter
from localai_flask.generation import Constraint, ModelInfo

SPACED = {"item_separator": ", ", "key_separator": ": "}
"""How models have seen the JSON of calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks: the form of the text, and of the calls.

    With `must_call` the answer is calls and nothing else; `calls_once` allows one at most. `asked_by` is the field that
    wants calls to be enforced, "" if none does.
    """

    form: Constraint | None = None
    must_call: bool = False
    calls_once: bool = False
    asked_by: str = ""

    @property
    def field(self) -> str:
        """The field of the request that cannot be honoured without a constraint; "" if all can."""
        return self.asked_by or (self.form.param if self.form else "")


@dataclass(frozen=True, slots=True)
class WrittenCall:
    """How a call is written: the name in JSON stands between `before` and `between`, then come the arguments."""

    opening: str
    before: str
    between: str
    after: str
    closing: str


WRITTEN = {
    "hermes": WrittenCall("<tool_call>", '{"name": ', ', "arguments": ', "}", "</tool_call>"),
}
"""By the names of tool formats; calls in other formats are read and not enforced."""


def json_form(schema: Any, param: str) -> Constraint:
    """Bind a text to a JSON Schema."""
    return Constraint("json_schema", json.dumps(schema, ensure_ascii=False), param)


def with_default_form(wanted: Wanted, config: ModelConfig) -> Wanted:
    """Put the grammar of the model's YAML in place where a request asks for no form of its own."""
    if wanted.form is not None or not config.grammar:
        return wanted
    return dataclasses.replace(wanted, form=Constraint("gbnf", config.grammar, "grammar"))


def answer_constraint(
    wanted: Wanted,
    info: ModelInfo,
    tools: Sequence[Tool] = (),
    form: ToolFormat | None = None,
    opened: TagPair | None = None,
) -> Constraint | None:
    """Give the constraint for an answer by a model that writes calls in this format (None: it has no tools).

    `opened` is the thinking that the prompt leaves the model in. Raises `InvalidRequest` or `UnsupportedParameter`.
    """
    if not _can_constrain(info):
        if wanted.field:
            raise _unsupported(wanted.field, info)
        return None
    if form is None:
        return _behind_thinking(wanted.form, opened)
    written = WRITTEN.get(form.name)
    if written is None:
        if wanted.field:
            raise UnsupportedParameter(
                f"`{wanted.field}` needs calls to be enforced, which is not possible in the way this model writes them "
                f"({form.name}); leave it out.",
                param=wanted.field,
            )
        return None
    if wanted.form is not None and wanted.form.kind != "json_schema":
        raise InvalidRequest(
            f"`{wanted.form.param}` is not possible together with `tools`; send one of them.", param=wanted.form.param
        )
    if wanted.form is None and not wanted.must_call:
        return _lazy(written, tools)
    return _behind_thinking(_whole(written, tools, wanted), opened)


def _can_constrain(info: ModelInfo) -> bool:
    return "constrain" in info.capabilities


def _unsupported(field: str, info: ModelInfo) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"`{field}` asks for constrained output, which the {info.backend} backend does not give; leave it out or "
        "choose a model that the llama-cpp backend runs.",
        param=field,
    )


def _lazy(written: WrittenCall, tools: Sequence[Tool]) -> Constraint:
    """Bind what stands behind each opening marker."""
    rules = ["start: WS body WS " + json.dumps(written.closing, ensure_ascii=False), *_bodies(written, tools)]
    return Constraint("lark", "\n".join(rules), "tools", written.opening, _arguments(tools))


def _whole(written: WrittenCall, tools: Sequence[Tool], wanted: Wanted) -> Constraint:
    """Bind the whole answer: to calls, or where they are not a must, to calls or the text's own form."""
    opening, closing = (json.dumps(marker, ensure_ascii=False) for marker in (written.opening, written.closing))
    calls = "call" if wanted.calls_once else "call (WS call)*"
    parts = _arguments(tools)
    if wanted.form is not None and not wanted.must_call:
        calls = f"@form | {calls}"
        parts["form"] = wanted.form
    rules = [f"start: {calls}", f"call: {opening} WS body WS {closing}", *_bodies(written, tools)]
    return Constraint("lark", "\n".join(rules), wanted.field or "tools", parts=parts)


def _bodies(written: WrittenCall, tools: Sequence[Tool]) -> list[str]:
    rules = ["body: " + " | ".join(f"body_{index}" for index in range(len(tools))), "WS: /[ \\n]{0,2}/"]
    for index, tool in enumerate(tools):
        name = json.dumps(tool.name, ensure_ascii=False)
        begin = json.dumps(written.before + name + written.between, ensure_ascii=False)
        rules.append(f"body_{index}: {begin} @arguments_{index} {json.dumps(written.after)}")
    return rules


def _arguments(tools: Sequence[Tool]) -> dict[str, Constraint]:
    parts = {}
    for index, tool in enumerate(tools):
        param = f"tools[{tool.name}].function.parameters"
        # A function that declares no parameters takes none.
        schema = dict(tool.parameters or {"properties": {}, "additionalProperties": False})
        if schema.setdefault("type", "object") != "object":
            raise InvalidRequest(f"`{param}` must be a schema of type object.", param=param)
        parts[f"arguments_{index}"] = json_form({"x-guidance": SPACED, **schema}, param)
    return parts


def _behind_thinking(answer: Constraint | None, opened: TagPair | None) -> Constraint | None:
    """Let a model end the thinking that its prompt has begun before its answer must have a form."""
    if answer is None or opened is None:
        return answer
    end = json.dumps(opened.end, ensure_ascii=False)
    rules = ["start: thinking WS @form", f"thinking[lazy]: ANY {end}", "ANY: /(.|\\n)*/", "WS: /[ \\n]{0,3}/"]
    if answer.kind != "lark":
        return Constraint("lark", "\n".join(rules), answer.param, parts={"form": answer})
    rules[0] = "start: thinking WS answer"
    inner = answer.text.replace("start: ", "answer: ", 1)
    shared = [line for line in inner.splitlines() if not line.startswith("WS: ")]
    return Constraint("lark", "\n".join(rules + shared), answer.param, parts=answer.parts)
