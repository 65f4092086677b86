"""The middle of a text, as llama-server's clients in editors ask for it: llama.vim and llama.vscode."""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from dataclasses import dataclass
from typing import Any, Literal

import marshmallow
import msgspec
from flask import Response
from marshmallow import fields

from localai_flask.api.answer import sse
from localai_flask.api.answer.errors import encode_error
from localai_flask.api.answer.frames import failure, frame
from localai_flask.api.answer.json_response import json_response
from localai_flask.api.door.places import takes_place
from localai_flask.api.openai import shapes
from localai_flask.api.openai.timings import SoFar, timed_alike, timings
from localai_flask.api.pages import openapi
from localai_flask.api.request.controls.forms import FormFields, asked_form
from localai_flask.api.request.controls.sampling import TimedFields
from localai_flask.api.request.controls.sampling_fields import SamplingFields, TokenLimit, asked_sampling
from localai_flask.api.request.fields import Flag, Many, Noted, RequestSchema, Text, Whole
from localai_flask.api.request.foreign.translation import ForeignFields
from localai_flask.api.request.model_choice import chosen_model
from localai_flask.api.request.parsing import Blueprint
from localai_flask.api.request.waiting import ProgressFields, Waiting, waiting_of
from localai_flask.api.work.chat_plan import bound
from localai_flask.api.work.fallback import falls_back
from localai_flask.api.work.progress import Report
from localai_flask.api.work.work import Sequences, Work
from localai_flask.chat.answer import Answer, Content, Event, Finish, Reader
from localai_flask.chat.constraints.constraint import Wanted, answer_constraint, with_default_form
from localai_flask.chat.output.indentation import IndentedReader
from localai_flask.chat.output.reader import OutputReader
from localai_flask.config.sampling import sampling
from localai_flask.errors import ApiError, ErrorInfo, UnsupportedParameter
from localai_flask.generation import FinishReason, ModelInfo, Prompt

bp = Blueprint("infill", __name__, description="The middle of a text, as llama-server has it")

INFILL = "infill"
"""A sampler of llama.cpp that other ones stand in for here: the model's own end of the middle ends it."""
StopType = Literal["eos", "word", "limit"]
STOP_TYPES: MappingOf[FinishReason, StopType] = {FinishReason.EOS: "eos", FinishReason.STOP_SEQUENCE: "word"}
"""All others are limits."""

encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class InfillCall:
    model: str | None
    prompt: Prompt
    asked: MappingOf[str, Any]
    wanted: Wanted
    least_indent: int
    response_fields: tuple[str, ...]
    stream: bool
    timings_per_token: bool
    waiting: Waiting


class ExtraFile(RequestSchema):
    filename = Text(load_default="tmp")
    text = Text(required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[str, str]:
        return data["filename"], data["text"]


class Samplers(Many):
    """The names of samplers; that of llama.cpp's for this endpoint is taken without effect."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return [name for name in super()._deserialize(value, *args, **kwargs) if name != INFILL]


class InfillRequest(ForeignFields, SamplingFields, FormFields, ProgressFields, TimedFields):
    model = Text()
    input_prefix = Text(load_default="", metadata={"description": "What stands before."})
    input_suffix = Text(load_default="", metadata={"description": "What stands behind."})
    input_extra = Many(
        fields.Nested(ExtraFile), load_default=list, metadata={"description": "Other files, the nearest last."}
    )
    prompt = Text(load_default="", metadata={"description": "What the middle begins with, and is not repeated."})
    max_tokens = TokenLimit(0)
    n_indent = Whole(0, metadata={"description": "The middle ends before a line that is less indented."})
    samplers = Samplers(Text())
    stream = Flag(load_default=False)
    response_fields = Many(Text(), metadata={"description": "What of the answer is wanted, as in `timings/prompt_n`."})
    t_max_prompt_ms = Noted("is about prompts that take long; `timeout` is for all of a request.")

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> InfillCall:
        prefix, suffix = data["input_prefix"] + data["prompt"], data["input_suffix"]
        return InfillCall(
            model=data.get("model") or None,
            prompt=Prompt(prefix, suffix=suffix, files=data["input_extra"]),
            asked=asked_sampling(data),
            wanted=Wanted(form=asked_form(data)),
            least_indent=data.get("n_indent", 0),
            response_fields=tuple(data.get("response_fields", ())),
            stream=data["stream"],
            timings_per_token=data["timings_per_token"],
            waiting=waiting_of(data),
        )


class Infilled(msgspec.Struct, kw_only=True):
    """A whole answer, or the last event of a stream; `truncated` if files had to be left out for want of room."""

    content: str
    model: str
    tokens_predicted: int
    tokens_evaluated: int
    tokens_cached: int
    has_new_line: bool
    truncated: bool
    stop_type: StopType
    stopping_word: str
    timings: shapes.Timings
    index: int = 0
    stop: bool = True


@bp.post("/infill")
@bp.arguments(InfillRequest)
@bp.response(200, description="The middle; with `stream`, as server-sent events.")
@bp.doc(operationId="infill", responses=openapi.streamed(Infilled))
@takes_place
@falls_back
def infill(call: InfillCall) -> Response:
    """Write what stands between two texts"""
    name, config = chosen_model("completion", call.model)
    params = sampling.merge(config, call.asked)
    wanted = with_default_form(call.wanted, config)
    files = FewerFiles(call.prompt)

    def plan(info: ModelInfo) -> Sequences:
        if "infill" not in info.capabilities:
            raise UnsupportedParameter(
                f"The model {config.name!r} was not made to write the middle of a text; choose one with tokens for it.",
                param="model",
            )
        held = bound(params, answer_constraint(wanted, info))
        reader: Reader = OutputReader()
        if call.least_indent:
            reader = IndentedReader(reader, call.least_indent)
        return Sequences([(files.prompt, held)], [reader], "input_prefix")

    def shrink(info: ModelInfo, _: ErrorInfo) -> Sequences | None:
        return plan(info) if files.drop() else None

    work = Work(config, plan, shrink, waiting=call.waiting)
    if call.stream:
        so_far = work.so_far if call.timings_per_token else None
        return sse.respond(work, InfillEvents(name, files, so_far))
    (answer,) = work.answers()
    body = encode(_whole(name, answer, answer.content, files))
    return json_response(_chosen(body, call.response_fields) if call.response_fields else body)


class FewerFiles:
    """The files that are shown, of which the first half leaves where there is no room for all."""

    def __init__(self, prompt: Prompt):
        self.prompt = prompt
        self.are_truncated = False

    def drop(self) -> bool:
        """Leave out half of the files; return whether there were any."""
        files = self.prompt.files
        self.prompt = msgspec.structs.replace(self.prompt, files=files[-(-len(files) // 2) :])
        self.are_truncated = self.are_truncated or bool(files)
        return bool(files)


class InfillEvents:
    """One streamed middle."""

    def __init__(self, model: str, files: FewerFiles, so_far: SoFar | None):
        """`so_far` as in `openai.chunks.Chunks`."""
        self._model, self._files, self._so_far = model, files, so_far
        self._answer = Answer()

    def feed(self, index: int, event: Event) -> bytes:
        measured = self._so_far(index) if self._so_far is not None else None
        if isinstance(event, Finish):
            event = timed_alike(event, measured)
        self._answer.add(event)
        match event:
            case Content(text):
                timed = {} if measured is None else {"timings": timings([measured])}
                return frame(encode({"index": 0, "content": text, "stop": False, **timed}))
            case Finish():
                return frame(encode(_whole(self._model, self._answer, "", self._files)))
        return b""

    def progress(self, _: int, report: Report) -> bytes:
        return frame(encode({"index": 0, "content": "", "stop": False, **report}))

    def closing(self) -> bytes:
        return b""

    def error(self, error: ApiError) -> bytes:
        return failure(encode_error(error.info))


def _whole(model: str, answer: Answer, content: str, files: FewerFiles) -> Infilled:
    finish = answer.finish
    assert finish is not None, "a collected answer has an end"
    return Infilled(
        content=content,
        model=model,
        tokens_predicted=finish.usage.completion_tokens,
        tokens_evaluated=finish.usage.prompt_tokens,
        tokens_cached=finish.usage.cached_tokens,
        has_new_line="\n" in answer.content,
        truncated=files.are_truncated,
        stop_type=STOP_TYPES.get(finish.reason, "limit"),
        stopping_word=finish.stop_sequence or "",
        timings=timings([finish]),
    )


def _chosen(body: bytes, paths: tuple[str, ...]) -> dict[str, Any]:
    """Return what stands at these paths, under them as keys."""
    found: dict[str, Any] = {}
    for path in paths:
        value: Any = msgspec.json.decode(body)
        for key in path.split("/"):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[path] = value
    return found
