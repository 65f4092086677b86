"""Constraints in openvino-genai's structured output, which is xgrammar's, tried before a request may run.

A form that the library cannot read raises in the middle of a batch, whose other requests cannot go on then. So each
is compiled first by a pipeline of its own, whose model computes nothing.
"""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import numpy as np
import openvino
import openvino_genai
from openvino import opset15 as operations
from openvino_genai import GenerationConfig, LLMPipeline, StructuredOutputConfig

from localai_flask.backends.openvino.schema_checks import enforceable_schema
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Constraint

KINDS = frozenset(("json_schema", "regex", "gbnf"))
REMEMBERED = 256
"""Forms that are known to be fine."""


def structured_output(constraint: Constraint) -> StructuredOutputConfig:
    """Return a constraint as the library has it; raise `InvalidRequest` if it would not keep all of it."""
    if constraint.kind == "json_schema":
        return StructuredOutputConfig(json_schema=enforceable_schema(constraint))
    if constraint.kind == "regex":
        return StructuredOutputConfig(regex=constraint.text)
    return StructuredOutputConfig(grammar=constraint.text)


class FormTrial:
    """Compiles forms for one vocabulary; the interpreter's lock is free meanwhile."""

    def __init__(self, tokenizer: openvino_genai.Tokenizer, size: int):
        with tempfile.TemporaryDirectory(prefix="localai-flask-forms-") as folder:
            openvino.save_model(_empty_model(size), Path(folder) / "openvino_model.xml")
            self._pipeline = LLMPipeline(folder, tokenizer, "CPU", ATTENTION_BACKEND="SDPA")
        self._fault = functools.lru_cache(REMEMBERED)(self._find_fault)

    def check(self, constraint: Constraint) -> None:
        """Raise `InvalidRequest` for a form that the library would not keep, or cannot read."""
        form = structured_output(constraint)
        if fault := self._fault(form.json_schema, form.regex, form.grammar):
            field = constraint.param or constraint.kind
            raise InvalidRequest(f"`{field}` cannot be used: {fault}.", param=field)

    def _find_fault(self, *form: str | None) -> str:
        """Return what the library says of a form that it cannot read, "" of others."""
        named = dict(zip(("json_schema", "regex", "grammar"), form, strict=True))
        said = StructuredOutputConfig(**{name: text for name, text in named.items() if text is not None})
        wanted = GenerationConfig(max_new_tokens=1, structured_output_config=said, apply_chat_template=False)
        try:
            self._pipeline.generate(openvino.Tensor(np.zeros((1, 1), np.int64)), wanted)
        except RuntimeError as error:
            return _said(error)
        return ""


def _said(error: RuntimeError) -> str:
    """Leave out where in the library's source an error was raised."""
    line = next(iter(str(error).strip().splitlines()), "")
    head, _, said = line.partition(": ")
    return (said if head.endswith(tuple("0123456789")) else line).rstrip(". ")[:300]


def _empty_model(size: int) -> openvino.Model:
    """Make a language model without weights, for which all tokens are equally likely."""
    ids = _input("input_ids", [-1, -1], openvino.Type.i64)
    others = [_input("attention_mask", [-1, -1], openvino.Type.i64), _input("beam_idx", [-1], openvino.Type.i32)]
    shape = operations.concat([operations.shape_of(ids), operations.constant(np.array([size], np.int64))], 0)
    logits = operations.result(operations.broadcast(operations.constant(np.float32(0)), shape))
    logits.output(0).get_tensor().set_names({"logits"})
    return openvino.Model([logits], [ids, *others], "empty")


def _input(name: str, shape: list[int], kind: openvino.Type) -> openvino.Node:
    made = operations.parameter(shape, kind, name=name)
    made.output(0).get_tensor().set_names({name})
    return made
