"""Constraints in the llama.cpp engine: what random weights say must have the form asked for, or the form is refused."""

from __future__ import annotations

import json
import re

import pytest

from localai_flask.backends.llama_cpp.engine import LlamaCppBackend
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Constraint, Delta, Failed, FinishReason
from tests.support import gguf_models as models

jsonschema = pytest.importorskip("jsonschema")
CHECKER = jsonschema.Draft202012Validator.FORMAT_CHECKER

NODE = {
    "type": "object",
    "properties": {"value": {"enum": [1, 22]}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
    "required": ["value", "next"],
    "additionalProperties": False,
}
WORD = {"type": "string", "maxLength": 5}


def closed(**properties: object) -> dict:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


SCHEMAS = [
    {"type": "null"},
    {"type": "boolean"},
    {"type": "integer", "minimum": -5, "maximum": 1200},
    {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 9},
    {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 700},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 2, "maximum": 4},
    {"type": "number", "exclusiveMinimum": 0},
    {"type": ["integer", "null"], "minimum": 1, "maximum": 50},
    {"type": "string", "maxLength": 4},
    {"type": "string", "minLength": 2, "maxLength": 6},
    {"type": "string", "pattern": "^[a-f]{3}-[0-9]{2}$"},
    {"type": "string", "pattern": "b+c", "maxLength": 8},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "ipv4"},
    {"enum": ["red", "green", 3, None, True, {"a": [1]}]},
    {"const": {"fixed": ["value", 1.5]}},
    {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 1, "maxItems": 4},
    {"type": "array", "prefixItems": [WORD, {"type": "boolean"}], "items": False, "minItems": 2},
    {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 3, "maxItems": 3},
    closed(name=WORD, age={"type": "integer", "minimum": 0, "maximum": 150}),
    closed(é={"type": "boolean"}, **{'quo"te': {"type": "null"}, "back\\slash": {"const": "\n"}}),
    closed(outer=closed(inner=closed(leaf={"enum": [1, 2, 3]}))),
    {"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}}, "additionalProperties": False},
    {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"const": 2}},
        "required": ["b"],
        "additionalProperties": False,
    },
    {"type": "object", "additionalProperties": {"type": "boolean"}, "maxProperties": 2},
    {"type": "object", "patternProperties": {"^n_[a-c]{1,2}$": {"type": "null"}}, "additionalProperties": False},
    {"type": "object", "properties": {"a": {"type": "boolean"}}, "minProperties": 1, "additionalProperties": False},
    {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 10, "maximum": 20}]},
    {"oneOf": [{"type": "boolean"}, closed(kind={"const": "a"}), {"enum": ["one"]}]},
    {"oneOf": [closed(kind={"const": "a"}, x={"type": "null"}), closed(kind={"const": "b"}, y={"type": "boolean"})]},
    {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 6}]},
    {"$ref": "#/$defs/node", "$defs": {"node": NODE}},
    {"$defs": {"colour": {"enum": ["red", "blue"]}}, **closed(first={"$ref": "#/$defs/colour"}, second=WORD)},
    {"definitions": {"flag": {"type": "boolean"}}, "type": "array", "items": {"$ref": "#/definitions/flag"}},
]

REFUSED = [
    ({"not": {"type": "string"}}, "$.not"),
    (closed(a={"type": "array", "uniqueItems": True}), "$.properties.a.uniqueItems"),
    ({"type": "array", "items": {"type": "array", "contains": {"type": "string"}}}, "$.items.contains"),
    ({"anyOf": [{"type": "null"}, {"if": {"type": "string"}, "then": {"const": "a"}}]}, "$.anyOf[1].if"),
    (closed(a=closed(b={"type": "string", "format": "colour"})), "$.properties.a.properties.b.format"),
    (closed(a={"type": "string", "pattern": "(?=a)b"}), "$.properties.a.pattern"),
    (closed(a={"type": "text"}), "$.properties.a.type"),
    ({"$defs": {"x": {"type": "object", "propertyNames": {"pattern": "^a"}}}, "$ref": "#/$defs/x"}, "propertyNames"),
    ({"$ref": "#/$defs/missing"}, "/$defs/missing"),
    ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "oneOf"),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, "$.dependentRequired"),
    ({"type": "object", "unevaluatedProperties": False}, "$.unevaluatedProperties"),
    (closed(a={"type": "number", "exclusiveMinimum": 2, "maximum": 2.5}), "$.properties.a.exclusiveMinimum"),
    ({"allOf": [{"exclusiveMaximum": 1}, {"minimum": 0.5}]}, "$.allOf[0].exclusiveMaximum"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5)"),
    ({"x-guidance": {"lenient": True}, "not": {"type": "string"}}, "$.not"),
]


def schema_of(schema: object) -> Constraint:
    return Constraint("json_schema", json.dumps(schema), "response_format")


@pytest.fixture
def engine(open_engine):
    return open_engine("llama", "parallel:4", context_size=512)


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:60])
def test_random_weights_keep_to_a_schema(engine, schema):
    checker = jsonschema.Draft202012Validator(schema, format_checker=CHECKER)
    hot = [{"temperature": 1.0, "top_k": 40, "top_p": 0.9, "seed": seed} for seed in range(5)]
    wild = [{"temperature": 3.0, "top_k": 0, "typical_p": 0.8, "seed": seed} for seed in range(5)]
    jobs = [
        engine.submit(f"{index}", max_tokens=450, constraint=schema_of(schema), **sampling)
        for index, sampling in enumerate([{}, *hot, *wild])
    ]
    engine.run()

    whole = 0
    for job in jobs:
        end, text = engine.end(job), engine.text(job)
        if end.reason is FinishReason.EOS:
            checker.validate(json.loads(text))
            whole += 1
        else:
            assert end.reason is FinishReason.MAX_TOKENS
    assert whole >= 2


@pytest.mark.parametrize(("schema", "place"), REFUSED, ids=lambda value: json.dumps(value)[:60])
def test_a_schema_that_cannot_be_enforced_is_refused_with_its_place(engine, schema, place):
    with pytest.raises(InvalidRequest) as caught:
        engine.submit("a", constraint=schema_of(schema))
    assert place in str(caught.value)
    assert caught.value.info.param == "response_format"
    assert engine.backend.is_idle


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("regex", "(?=a)b"),
        ("regex", "a("),
        ("lark", "start: other"),
        ("lark", "nothing"),
        ("lark", "start: @missing"),
        ("gbnf", 'root ::= "a'),
        ("gbnf", "root ::= other"),
        ("gbnf", ""),
        ("gbnf", "root ::= " + "(" * 100_000),
        ("json_schema", "[1]"),
        ("json_schema", "{"),
        ("json_schema", '{"x-guidance": {"item_separator": 3}}'),
    ],
)
def test_a_malformed_grammar_is_refused(engine, kind, text):
    with pytest.raises(InvalidRequest, match="`grammar` cannot be enforced"):
        engine.submit("a", constraint=Constraint(kind, text, "grammar"))


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Constraint("regex", "[a-c]{3}(dog|cat) [0-9]{2,4}"), r"[a-c]{3}(dog|cat) [0-9]{2,4}"),
        (Constraint("gbnf", 'root ::= "<" word ("," word)? ">"\nword ::= [a-z] [a-z] # two'), "<[a-z]{2}(,[a-z]{2})?>"),
        (Constraint("lark", 'start: "x" @n\n', parts={"n": schema_of({"type": "boolean"})}), "x(true|false)"),
        (Constraint("lark", 'start: A @r\nA: "a" | "é€"', parts={"r": Constraint("regex", "b{2}")}), "(a|é€)bb"),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_other_grammars(engine, constraint, pattern, temperature):
    for seed in range(4):
        job = engine.generate("a", max_tokens=60, constraint=constraint, temperature=temperature, seed=seed)
        assert engine.end(job).reason is FinishReason.EOS
        assert re.fullmatch(pattern, engine.text(job))


PAIR = closed(a={"type": "null"}, b={"type": "array", "items": {"type": "null"}, "minItems": 1, "maxItems": 1})
GAP = r"( |\n{1,2}[ \t]{0,20})?"


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "top_k": 40}, {"temperature": 3.0, "top_k": 0}], ids=str)
def test_json_may_have_white_space_but_no_answer_pads_itself(engine, sampling):
    form = GAP.join(["", r"\{", '"a"', ":", "null", ",", '"b"', ":", r"\[", "null", r"\]", r"\}"])[len(GAP) :]
    texts = [engine.text(engine.generate("a", constraint=schema_of(PAIR), seed=seed, **sampling)) for seed in range(5)]
    assert all(re.fullmatch(form, text) for text in texts)
    assert sampling == {} or any(re.search(r"\s", text) for text in texts)


@pytest.mark.parametrize(
    ("guidance", "text"),
    [
        ({"whitespace_flexible": False}, '{"a":null,"b":[null]}'),
        ({"item_separator": ", ", "key_separator": ": "}, '{"a": null, "b": [null]}'),
        ({"whitespace_pattern": "  "}, '{(  )?"a"(  )?:(  )?null(  )?,(  )?"b"(  )?:(  )?[(  )?null(  )?](  )?}'),
    ],
)
def test_a_schema_may_say_which_white_space_it_takes(engine, guidance, text):
    form = re.sub(r"([{}\[\]])", r"\\\1", text)
    said = engine.generate("a", constraint=schema_of({**PAIR, "x-guidance": guidance}))
    assert re.fullmatch(form, engine.text(said))


def test_a_cut_answer_ends_with_length_and_a_whole_one_with_eos(engine):
    constraint = Constraint("regex", "[0-9]{10}")
    cut = engine.generate("a", max_tokens=9, constraint=constraint)
    whole = engine.generate("a", max_tokens=10, constraint=constraint, ignore_eos=True)
    assert (engine.end(cut).reason, len(engine.text(cut))) == (FinishReason.MAX_TOKENS, 9)
    assert (engine.end(whole).reason, len(engine.text(whole))) == (FinishReason.EOS, 10)


def test_greedy_choice_is_the_likeliest_allowed_token(engine):
    job = engine.generate("abc", constraint=Constraint("regex", "[0-9]{6}"), top_logprobs=len(models.TOKENS))
    digits = {models.character(char) for char in "0123456789"} | {models.byte(ord(char)) for char in "0123456789"}
    for delta in engine.of(job, Delta):
        (entry,) = delta.logprobs
        assert entry.id == next(token for token, _, _ in entry.top if token in digits)
        assert all(logprob > float("-inf") for _, _, logprob in entry.top)  # of the model's own distribution


def test_chance_follows_the_masked_distribution(engine):
    """Drawing first and masking what is refused would give the likelier digit more than its share."""
    constraint = Constraint("regex", "[ab]")
    bias = {models.byte(ord(char)): -100.0 for char in "ab"}
    probe = engine.generate("q", max_tokens=1, top_logprobs=len(models.TOKENS))
    logprobs = {token: value for token, _, value in engine.of(probe, Delta)[0].logprobs[0].top}
    gap = logprobs[models.character("a")] - logprobs[models.character("b")]
    bias[models.character("b")] = gap  # now both are equally likely
    jobs = [
        engine.submit("q", constraint=constraint, temperature=1.0, top_k=0, top_p=1.0, seed=seed, logit_bias=bias)
        for seed in range(400)
    ]
    engine.run()
    share = sum(engine.text(job) == "a" for job in jobs) / len(jobs)
    assert 0.4 < share < 0.6


def test_neighbours_are_not_affected(engine):
    alone = [engine.text(engine.generate(prompt, max_tokens=30)) for prompt in ("abc", "xyz")]
    schema = schema_of(closed(a=WORD, b={"type": "integer", "maximum": 99}))
    by_itself = engine.text(engine.generate("pqr", max_tokens=60, constraint=schema))
    free = [engine.submit(prompt, max_tokens=30) for prompt in ("abc", "xyz")]
    bound = [engine.submit("pqr", max_tokens=60, constraint=schema) for _ in range(2)]
    engine.run()
    assert [engine.text(job) for job in free] == alone
    assert [engine.text(job) for job in bound] == [by_itself] * 2


SAID = "Theé€<tool_call> cat😀"


@pytest.mark.parametrize(
    ("trigger", "form", "text"),
    [
        ("<tool_call>", "[0-9]{3}!", r"Theé€<tool_call>[0-9]{3}!"),
        ("<tool_call>", " cat", re.escape(SAID)),
        ("The", "x", "Thex"),
        ("call> c", "ow", re.escape("Theé€<tool_call> cow")),
        ("never", "x", re.escape(SAID)),
    ],
)
def test_a_trigger_arms_the_constraint(open_engine, trigger, form, text):
    engine = open_engine("chain")
    constraint = Constraint("regex", form, trigger=trigger)
    job = engine.generate(">", constraint=constraint, max_tokens=18)
    assert re.match(text, engine.text(job))


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_each_trigger_arms_the_constraint_anew_and_text_between_is_free(engine, temperature):
    constraint = Constraint("regex", "[0-9]{2};", trigger="a")
    bias = {models.character("a"): 5.0}
    job = engine.generate(
        "abc", constraint=constraint, max_tokens=200, logit_bias=bias, ignore_eos=True, temperature=temperature, seed=1
    )
    calls = engine.text(job).split("a")
    assert len(calls) > 3
    assert all(re.match("[0-9]{2};", call) for call in calls[1:-1])
    assert any(call[3:] for call in calls[1:-1]) or temperature == 0


def test_a_final_form_ends_the_answer(open_engine):
    engine = open_engine("chain")
    constraint = Constraint("regex", "[0-9]{3}!", trigger="<tool_call>", is_final=True)
    job = engine.generate(">", constraint=constraint, max_tokens=18)
    assert re.fullmatch("Theé€<tool_call>[0-9]{3}!", engine.text(job))


def test_a_lax_part_that_cannot_be_enforced_means_any_object(engine):
    odd = json.dumps({"type": "object", "properties": {"a": {"type": "string", "format": "odd"}}, "maxProperties": 1})
    lax = Constraint("lark", "start: @part", parts={"part": Constraint("json_schema", odd, "tools", is_lax=True)})
    text = engine.text(engine.generate("abc", constraint=lax, max_tokens=60, ignore_eos=True))
    assert text.startswith("{")
    strict = Constraint("lark", "start: @part", parts={"part": Constraint("json_schema", odd, "tools")})
    with pytest.raises(InvalidRequest, match="cannot be enforced"):
        engine.submit("abc", constraint=strict)


@pytest.mark.parametrize(("end", "quoted"), [('"', r'\\"|\\\\|\\n|,'), ("\n</p>", r'"|\\|\n|,')])
@pytest.mark.parametrize("kind", ["regex", "lark"])
def test_a_text_in_a_frame_keeps_to_its_own_grammar(engine, end, quoted, kind):
    text = {"regex": r'["\\\n]{2,4},', "lark": 'start: a{2,4} ","\na: "\\"" | "\\\\" | /\\n/'}[kind]
    part = Constraint(kind, text, "tools[f].format.definition", end=end)
    form = Constraint("lark", 'start: "<" @t ">"', "tools", parts={"t": part})
    jobs = [
        engine.submit(f"{seed}", max_tokens=60, temperature=2.0, top_k=0, seed=seed, constraint=form)
        for seed in range(8)
    ]
    engine.run()
    for job in jobs:
        assert engine.end(job).reason is FinishReason.EOS
        assert re.fullmatch(f"<(?:{quoted}){{3,5}}{re.escape(end)}>", engine.text(job))


def test_no_end_within_an_armed_form(open_engine):
    engine = open_engine("chain")
    constraint = Constraint("regex", "[0-9]{3}", trigger="😀")  # the model would end right behind it
    job = engine.generate(">", constraint=constraint, max_tokens=40)
    assert re.fullmatch(re.escape(SAID) + "[0-9]{3}.*", engine.text(job), re.DOTALL)


def test_what_gets_too_complex_fails_alone(engine, monkeypatch):
    constraint = Constraint("regex", "[a-z]{20}")
    neighbour = engine.submit("abc", max_tokens=20, ignore_eos=True)
    job = engine.submit("abc", constraint=constraint)
    engine.step(3)
    guide = engine.backend.scheduler.find(job.id).guide
    monkeypatch.setattr(guide, "accept", lambda token: guide._matcher.consume_token(models.IM_START) or guide._check())
    engine.run()
    (failed,) = engine.of(job, Failed)
    assert failed.error.status == 400 and "cannot be held to its form" in failed.error.message
    assert engine.end(neighbour).reason is FinishReason.MAX_TOKENS
    engine.check_books()


def test_the_backend_says_that_it_can_constrain():
    assert "constrain" in LlamaCppBackend.capabilities
