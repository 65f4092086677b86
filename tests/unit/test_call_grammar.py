"""Grammars of calls: in every format, what the grammar lets a model write is read as calls that fit their schema."""

from __future__ import annotations

import json
import random
import re

import jsonschema
import pytest

from localai_flask.chat.answer import Answer
from localai_flask.chat.constraints.constraint import Wanted, answer_constraint
from localai_flask.chat.conversation import Tool
from localai_flask.chat.formats import TOOL_FORMATS
from localai_flask.chat.formats.notation import JsonArguments, PairedArguments, TaggedArguments
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.reasoning_marks import Reasoning
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Constraint, Delta, Finished, FinishReason, ModelInfo, Usage

LLMatcher = pytest.importorskip("llguidance").LLMatcher
LLTokenizer = pytest.importorskip("llguidance").LLTokenizer
SPACED = pytest.importorskip("localai_flask.backends.grammars.compiler").SPACED

ABLE = ModelInfo(
    backend="fake", engine_version="1", context_length=64, capabilities=frozenset({"generate", "constrain"})
)
PLACE = {
    "type": "object",
    "properties": {
        "town": {"enum": ["Oslo", "7", "S\u00e3o Paulo"]},
        "days": {"type": "integer", "minimum": 0, "maximum": 99},
        "wet": {"type": "boolean"},
        "hours": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "maxItems": 3},
        "near": {"$ref": "#/$defs/near"},
    },
    "required": ["town", "days"],
    "additionalProperties": False,
    "$defs": {
        "near": {
            "type": "object",
            "properties": {"km": {"type": "integer", "minimum": 0, "maximum": 9}},
            "required": ["km"],
            "additionalProperties": False,
        }
    },
}
TOOLS = [Tool(name="weather", parameters=PLACE), Tool(name="now")]
SCHEMAS = {"weather": PLACE, "now": {"type": "object", "maxProperties": 0}}
NAMES = sorted(TOOL_FORMATS)
MUST = Wanted(must_call=True, asked_by="tool_choice")


def matcher_of(constraint: Constraint) -> tuple[LLTokenizer, LLMatcher]:
    grammars = [{"name": "answer", "lark_grammar": constraint.text}]
    for name, part in constraint.parts.items():
        grammar = LLMatcher.grammar_from_json_schema(part.text, defaults=SPACED)
        grammars.append({**json.loads(grammar)["grammars"][0], "name": name})
    tokenizer = LLTokenizer("byte")
    matcher = LLMatcher(tokenizer, json.dumps({"grammars": grammars}))
    assert not matcher.is_error(), (matcher.get_error(), constraint.text)
    return tokenizer, matcher


def walk(constraint: Constraint, seed: int, longest: int = 20_000) -> str:
    """Write something that a grammar allows: ends, once it may end, with a chance of one half."""
    _, matcher = matcher_of(constraint)
    chance, said = random.Random(seed), bytearray()
    while len(said) < longest:
        bits = matcher.compute_bitmask()
        allowed = [byte for byte in range(256) if bits[byte // 8] >> (byte % 8) & 1]
        if matcher.is_stopped() or not allowed or (matcher.is_accepting() and chance.random() < 0.5):
            return said.decode()
        byte = chance.choice(allowed)
        matcher.consume_token(byte)
        said.append(byte)
    raise AssertionError(said)


def accepts(constraint: Constraint, text: str) -> bool:
    tokenizer, matcher = matcher_of(constraint)
    tokens = tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


def read(name: str, text: str, tools: list[Tool] = TOOLS) -> Answer:
    form = TOOL_FORMATS[name]
    functions = {tool.name: tool.parameters or {} for tool in tools}
    reader, answer = OutputReader(form, reasoning=Reasoning(), functions=functions), Answer()
    for event in [*reader.feed(Delta(text)), *reader.finish(Finished(FinishReason.EOS, Usage(1, 1)))]:
        answer.add(event)
    return answer


def check(answer: Answer, text: str) -> None:
    assert answer.content.strip() == "" and answer.tool_calls, text
    for call in answer.tool_calls:
        jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
    assert answer.finish is not None and answer.finish.reason == FinishReason.TOOL_CALLS


@pytest.mark.parametrize("name", NAMES)
def test_a_forced_answer_is_calls(name: str) -> None:
    form = TOOL_FORMATS[name]
    constraint = answer_constraint(MUST, ABLE, TOOLS, form)
    assert constraint is not None
    constraint = without_preface(constraint)
    for seed in range(8):
        text = walk(constraint, seed)
        check(read(name, text), text)
    once = answer_constraint(MUST, ABLE, TOOLS, form, once=True)
    assert once is not None
    for seed in range(4):
        text = walk(without_preface(once), seed)
        answer = read(name, text)
        check(answer, text)
        assert len(answer.tool_calls) == 1


def without_preface(constraint: Constraint) -> Constraint:
    """Leave out thinking, which a random walk does not find out of."""
    text = constraint.text.replace("preface?", "")
    return Constraint(constraint.kind, text, constraint.param, parts=constraint.parts)


@pytest.mark.parametrize("name", NAMES)
def test_what_follows_a_marker_is_calls(name: str) -> None:
    form = TOOL_FORMATS[name]
    constraint = answer_constraint(Wanted(), ABLE, TOOLS, form)
    assert constraint is not None and form.notation is not None
    if form.notation.plain:
        assert accepts(constraint, "Hello") and accepts(constraint, "")
        return
    assert constraint.trigger
    for seed in range(8):
        before, trigger, _ = form.notation.head.partition(constraint.trigger)
        text = before + trigger + walk(constraint, seed)
        check(read(name, text), text)


JSON_FRAMED = [name for name in NAMES if (notation := TOOL_FORMATS[name].notation) and notation.call.is_json]


@pytest.mark.parametrize("name", JSON_FRAMED)
@pytest.mark.parametrize("space", ["", " ", "\n", "\n    "])
def test_a_call_that_is_json_may_have_white_space_but_not_without_end(name: str, space: str) -> None:
    notation = TOOL_FORMATS[name].notation
    assert notation is not None
    block, form = notation.block, notation.call
    call = f'{form.before}"weather"{form.between}{{"town":"Oslo","days":1}}{form.after}'
    compact = re.sub(r'(?<=":) |(?<=,) (?=")', "", call.replace("{number}", "0"))
    text = block.opening + re.sub(r'(?<=\{)(?=")|(?<=":)|(?<=,)(?=")|(?=\})', space, compact) + block.closing
    constraint = without_preface(answer_constraint(MUST, ABLE, TOOLS, TOOL_FORMATS[name], once=True))

    assert accepts(constraint, text), text
    check(read(name, text), text)
    padded = text.replace(f'{{{space}"', '{\n\n\n"')
    assert padded != text and not accepts(constraint, padded), padded


FREE_TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
FREE = [Tool(name="note", parameters=FREE_TEXT)]


@pytest.mark.parametrize("name", NAMES)
def test_free_text_is_allowed_and_read(name: str) -> None:
    """The shortest call with a free text is made of the grammar's only ways on, but for the text."""
    form = TOOL_FORMATS[name]
    constraint = answer_constraint(MUST, ABLE, FREE, form, once=True)
    assert constraint is not None
    said = 'a "quote" {x} <b>'
    assert form.notation is not None
    text = guided(without_preface(constraint), said, end_of_text(form.notation.arguments))
    assert text is not None
    answer = read(name, text, FREE)
    assert [json.loads(call.arguments) for call in answer.tool_calls] == [{"text": said}], text


def end_of_text(arguments: JsonArguments | TaggedArguments | PairedArguments) -> str:
    match arguments:
        case TaggedArguments():
            return arguments.end("text")
        case PairedArguments():
            return arguments.quote or '"'
    return '"'


def guided(constraint: Constraint, said: str, end: str) -> str | None:
    _, matcher = matcher_of(constraint)
    wanted = json.dumps(said)[1:-1] if end == '"' else said
    out = b""
    while not matcher.is_stopped() and len(out) < 2000:
        bits = matcher.compute_bitmask()
        allowed = [byte for byte in range(256) if bits[byte // 8] >> (byte % 8) & 1]
        if not allowed:
            break
        script = (wanted + end).encode()
        if len(allowed) > 100 and wanted.encode() not in out:
            if matcher.try_consume_tokens(list(script)) != len(script):
                return None
            out += script
            continue
        if matcher.is_accepting() and wanted.encode() in out:
            break
        byte = next((b for b in allowed if chr(b) in '"tg<'), None) if len(allowed) > 1 else allowed[0]
        byte = allowed[-1] if byte is None else byte
        matcher.consume_token(byte)
        out += bytes([byte])
    return out.decode() if wanted.encode() in out else None


def test_what_tags_cannot_keep_is_refused_if_it_must_be_kept() -> None:
    odd = {"type": "object", "properties": {"x": {"type": "string", "pattern": "^a+$"}}}
    form = TOOL_FORMATS["qwen3-coder"]
    with pytest.raises(UnsupportedParameter, match=r"properties\.x\.pattern"):
        answer_constraint(MUST, ABLE, [Tool(name="f", parameters=odd)], form)
    with pytest.raises(UnsupportedParameter, match=r"properties\.x\.pattern"):
        answer_constraint(
            Wanted(asked_by="tools[0].function.strict"), ABLE, [Tool(name="f", parameters=odd, strict=True)], form
        )
    assert answer_constraint(Wanted(), ABLE, [Tool(name="f", parameters=odd)], form) is not None


def test_lengths_hold_in_tags() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "string", "maxLength": 3}}, "required": ["x"]}
    constraint = answer_constraint(MUST, ABLE, [Tool(name="f", parameters=schema)], TOOL_FORMATS["minicpm"])
    assert constraint is not None
    call = '<function name="f"><param name="x">{}</param></function>'
    assert accepts(constraint, call.format("abc")) and not accepts(constraint, call.format("abcd"))


def test_only_one_call_may_follow_a_marker_where_one_is_allowed() -> None:
    constraint = answer_constraint(Wanted(), ABLE, TOOLS, TOOL_FORMATS["hermes"], once=True)
    assert constraint is not None and constraint.is_final
    assert not answer_constraint(Wanted(), ABLE, TOOLS, TOOL_FORMATS["hermes"]).is_final


@pytest.mark.parametrize("name", ["qwen3-coder", "gemma4", "lfm2"])
@pytest.mark.parametrize("required", [0, 1, 3000])
def test_rules_for_many_parameters_are_not_deep(name: str, required: int) -> None:
    """A compiler goes down them by recursion, and a chain of thousands has ended the process."""
    names = [f"p{at}" for at in range(3000)]
    schema = {
        "type": "object",
        "properties": {each: {"type": "integer"} for each in names},
        "required": names[:required],
    }
    constraint = answer_constraint(MUST, ABLE, [Tool(name="f", parameters=schema)], TOOL_FORMATS[name])
    assert constraint is not None
    rules = {
        head.partition("[")[0]: text for head, _, text in (line.partition(": ") for line in constraint.text.split("\n"))
    }
    depths: dict[str, int] = {}

    def depth(rule: str, level: int = 0) -> int:
        assert level < 60
        if rule not in depths:
            inner = [
                each for each in re.findall(r"[a-z_0-9]+", re.sub(r'"(\\.|[^"])*"', "", rules[rule])) if each in rules
            ]
            depths[rule] = 1 + max((depth(each, level + 1) for each in inner if each != rule), default=0)
        return depths[rule]

    assert depth("start") < 40
