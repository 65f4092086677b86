"""Tools that are called with a text in a grammar: in every format, a model can write such texts and no others."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localai_flask.chat.answer import Answer
from localai_flask.chat.constraints.constraint import Wanted, answer_constraint
from localai_flask.chat.conversation import Tool
from localai_flask.chat.formats import TOOL_FORMATS
from localai_flask.chat.output.reader import OutputReader
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Constraint, Delta, Finished, FinishReason, ModelInfo, Usage

LLMatcher = pytest.importorskip("llguidance").LLMatcher
LLTokenizer = pytest.importorskip("llguidance").LLTokenizer
Grammars = pytest.importorskip("localai_flask.backends.grammars.compiler").Grammars

from tests.support.patches import PATCH  # noqa: E402

SUM = """// sums
start: sum
?sum: product (("+" | "-") product)*
product: atom ("*" atom)*
atom: NUMBER | "(" sum ")" | STRING
STRING: /"[^"\\n]{0,4}"/
%import common.NUMBER
%ignore / +/
"""
WORDS = r'(?i)say "[^\n\\]{1,3}"|(?s:.)\t\x41[\r\n"x-]\s'
FORMS = {
    "patch": Constraint("lark", PATCH, "p"),
    "sum": Constraint("lark", SUM, "p"),
    "words": Constraint("regex", WORDS, "p"),
}
ABLE = ModelInfo(backend="fake", engine_version="1", context_length=64, capabilities=frozenset({"constrain"}))
MUST = Wanted(must_call=True, asked_by="tool_choice")
ONE_TEXT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


class Bytes:
    size, ends = 257, (256,)

    def piece(self, token: int) -> bytes:
        return bytes([token])


GRAMMARS = Grammars(Bytes(), LLTokenizer("byte"))


def accepts(constraint: Constraint, text: str) -> bool:
    matcher = GRAMMARS._compile(constraint)
    data = list(text.encode())
    return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())


def tool(form: Constraint) -> Tool:
    return Tool(name="edit", parameters=ONE_TEXT, text_form=form)


def forced(form: Constraint, name: str) -> Constraint:
    constraint = answer_constraint(MUST, ABLE, [tool(form)], TOOL_FORMATS[name], once=True)
    assert constraint is not None
    return Constraint(constraint.kind, constraint.text.replace("preface?", ""), "tools", parts=constraint.parts)


def walk(constraint: Constraint, seed: int) -> str:
    """Write something that a grammar allows, of the characters that keep it short, and end as soon as it may."""
    matcher, chance, said = GRAMMARS._compile(constraint), random.Random(seed), bytearray()
    while len(said) < 3000 and not (matcher.is_accepting() or matcher.is_stopped()):
        bits = matcher.compute_bitmask()
        allowed = [byte for byte in range(256) if bits[byte // 8] >> (byte % 8) & 1]
        assert allowed, said
        short = [byte for byte in allowed if byte in b'\n\\n"*E+<|&=/'] or allowed
        byte = chance.choice(short if chance.random() < 0.8 else allowed)
        matcher.consume_token(byte)
        said.append(byte)
    return said.decode()


def read(name: str, text: str) -> str:
    reader, answer = OutputReader(TOOL_FORMATS[name], functions={"edit": ONE_TEXT}), Answer()
    for event in [*reader.feed(Delta(text)), *reader.finish(Finished(FinishReason.EOS, Usage(1, 1)))]:
        answer.add(event)
    (call,) = answer.tool_calls
    assert not answer.content.strip() and call.name == "edit", text
    arguments = json.loads(call.arguments)
    assert set(arguments) == {"input"}
    return str(arguments["input"])


@pytest.mark.parametrize("name", sorted(TOOL_FORMATS))
@pytest.mark.parametrize("form", sorted(FORMS))
def test_what_a_model_may_write_is_a_text_in_the_grammar(name: str, form: str) -> None:
    constraint = forced(FORMS[form], name)
    texts = [read(name, walk(constraint, seed)) for seed in range(4)]
    assert [text for text in texts if not accepts(FORMS[form], text)] == []


REAL = """*** Begin Patch
*** Update File: src/a "b".py
@@ def f():
-    return "<b>\\n"
+    return '</tool> {}' \t# ok
*** Add File: é.txt
+
*** End Patch
"""


@pytest.mark.parametrize("name", sorted(TOOL_FORMATS))
def test_a_real_patch_may_be_written_in_every_format(name: str) -> None:
    notation = TOOL_FORMATS[name].notation
    assert notation is not None
    framed = written(name, REAL)
    constraint = forced(FORMS["patch"], name)
    assert accepts(constraint, framed), framed
    assert read(name, framed) == REAL
    assert not accepts(constraint, written(name, REAL.replace("*** End", "End")))


def written(name: str, text: str) -> str:
    """Write a call as the model would, by what the grammar forces wherever it forces something."""
    matcher = GRAMMARS._compile(forced(Constraint("regex", "@@TEXT@@", "p"), name))
    said = bytearray()
    while not matcher.is_accepting() and not matcher.is_stopped():
        bits = matcher.compute_bitmask()
        allowed = [byte for byte in range(256) if bits[byte // 8] >> (byte % 8) & 1]
        byte = next((each for each in allowed if each not in b" \n\t0123456789"), allowed[0])
        matcher.consume_token(byte)
        said.append(byte)
    frame = said.decode()
    in_json = '"@@TEXT@@"' in frame
    return frame.replace("@@TEXT@@", json.dumps(text, ensure_ascii=False)[1:-1] if in_json else text)


PIECES = [
    '"',
    "\\\\",
    "\\n",
    ".",
    "a",
    "[^a]",
    r"[\s\"]",
    r"\W",
    "(?s:.)",
    r"[^\n\\]",
    "/",
    r"\/",
    r"\x22",
    "(?i:A)",
    r"\t",
]


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(["", "*", "?", "+"])), min_size=1, max_size=4),
    st.text(st.sampled_from('"\\\na/\tA\x00 é')),
)
def test_a_regular_expression_means_the_same_in_a_json_string(pieces: list[tuple[str, str]], text: str) -> None:
    source = "".join(piece + times for piece, times in pieces)
    within = answer_constraint(MUST, ABLE, [tool(Constraint("regex", source, "p"))], TOOL_FORMATS["hermes"], once=True)
    assert within is not None
    arguments = json.dumps({"input": text}, ensure_ascii=False)
    call = f'<tool_call>\n{{"name": "edit", "arguments": {arguments}}}\n</tool_call>'
    assert accepts(within, call) == accepts(Constraint("regex", source, "p"), text)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (Constraint("lark", 'start: "a"\n\nthing: )', "p"), "line 3, column 8"),
        (Constraint("lark", 'start: "a" other', "p"), 'line 1, column 8: unknown name: "other"'),
        (Constraint("lark", "start: /[/", "p"), "unclosed character class"),
        (Constraint("regex", "(a", "p"), "unclosed group"),
        (Constraint("lark", 'start: a\na: "x"\n  | %json {"type": "null"}', "p"), "line 3: '%json' cannot be kept"),
        (Constraint("lark", "start: /a b/x", "p"), "flag `x`"),
    ],
)
def test_what_is_no_grammar_is_refused_with_its_line(form: Constraint, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        GRAMMARS._compile(forced(form, "hermes"))
    assert said in caught.value.info.message and caught.value.info.param == "p"
    assert "\n" not in caught.value.info.message
