"""The template language: each row renders as Go's text/template renders it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.errors import InvalidRequest
from localai_flask.gotemplate import TemplateError, parse

DATA = {
    "n": 3,
    "pi": 3.25,
    "s": "hi",
    "nil": None,
    "yes": True,
    "empty": [],
    "l": ["a", "b", "c"],
    "mixed": [1, "x", None, True, [2.5], {"k": "v"}],
    "m": {"b": 2, "a": 1},
    "deep": {"x": {"y": "z"}},
    "rows": [{"name": "A", "size": 1}, {"name": "B", "size": 2}],
}

LANGUAGE = [
    # text, trimming, comments
    ("plain { text } }}", "plain { text } }}"),
    ("a {{- 1 -}} b", "a1b"),
    ("a \n\t {{- 1 -}}\r\n\n b", "a1b"),
    ("a {{-1}} b", "a -1 b"),
    ("a {{/* no */}} b", "a  b"),
    ("a {{- /* no\nno */ -}} b", "ab"),
    ("{{1}}{{- /* x */ -}} {{2}}", "12"),
    ("{{\n .n\n}}", "3"),
    ("{{- .s }} {{ .s -}}\n", "hi hi"),
    # constants
    ("a {{-.s}} b {{-print -7}} {{-.5}} {{-/* x */}}", "ahi b-7 -0.5"),
    ("{{1}} {{-7}} {{+7}} {{0x1F}} {{0b101}} {{0o17}} {{017}} {{1_000}}", "1 -7 7 31 5 15 15 1000"),
    ("{{1.5}} {{.5}} {{1e3}} {{1.0}} {{1e21}} {{1e-7}} {{2.50}}", "1.5 0.5 1000 1 1e+21 1e-07 2.5"),
    ("{{100000.0}} {{1000000.0}} {{0.0001}} {{0.00001}}", "100000 1e+06 0.0001 1e-05"),
    ("{{'a'}} {{'\\n'}} {{'\\''}} {{'\\x41'}} {{'é'}}", "97 10 39 65 233"),
    (r'{{"a\tb\n\"\\\u00e9\x41\101"}}', 'a\tb\n"\\éAA'),
    (r'{{"\xc3\xa9"}}', "é"),
    ("{{`raw \\n\n}}`}}", "raw \\n\n}}"),
    ("{{true}} {{false}} {{print nil}}", "true false <nil>"),
    # printing
    ("{{.}}", None),
    ("{{.mixed}}", "[1 x <nil> true [2.5] map[k:v]]"),
    ("{{.m}} {{.l}} {{.yes}} {{.pi}} {{.empty}}", "map[a:1 b:2] [a b c] true 3.25 []"),
    ("{{.missing}} {{.nil}} {{index .m \"zzz\"}}", "<no value> <no value> <no value>"),
    # fields
    ("{{.deep.x.y}} {{$.deep.x.y}} {{(index .rows 1).name}} {{(.deep).x.y}}", "z z B z"),
    ("{{.missing.x.y}}", "<no value>"),
    ("{{(index .m \"none\").x}}", "<no value>"),
    # variables
    ("{{$x := 1}}{{$x}}{{$x = 2}}{{$x}}", "12"),
    ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
    ("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21"),
    ("{{$x := 1}}{{range .l}}{{$x = add1 $x}}{{end}}{{$x}}", "4"),
    ("{{$x := 1}}{{$x := add1 $x}}{{$x}}", "2"),
    ("{{with $y := .s}}{{$y}}{{.}}{{end}}", "hihi"),
    ("{{if $y := .nil}}{{$y}}{{else if $z := 4}}{{$y}}{{$z}}{{end}}", "<no value>4"),
    ("{{$m := .m}}{{$m.a}}", "1"),
    ("{{$_1é := 5}}{{$_1é}}", "5"),
    # pipelines
    ("{{.s | printf \"%s-%s\" \"x\"}}", "x-hi"),
    ("{{.s | upper | quote}}", '"HI"'),
    ("{{printf \"%d\" (add 1 (mul 2 3))}}", "7"),
    ("{{(1)}} {{(.s | len)}} {{len (print .s .s)}}", "1 2 4"),
    ("{{.s|upper|lower}}", "hi"),
    # if
    ("{{if .s}}y{{else}}n{{end}}{{if .empty}}y{{else}}n{{end}}{{if .nil}}y{{else}}n{{end}}", "ynn"),
    ("{{if 0}}y{{else if 0.0}}y{{else if \"\"}}y{{else if false}}y{{else if .missing}}y{{else}}n{{end}}", "n"),
    ("{{if eq .n 1}}1{{else if eq .n 3}}3{{else}}x{{end}}", "3"),
    ("{{if .deep}}map{{end}}{{if (dict)}}no{{end}}", "map"),
    # with
    ("{{with .deep.x}}{{.y}}{{$.s}}{{end}}", "zhi"),
    ("{{with .nil}}x{{else}}{{.s}}{{end}}", "hi"),
    ("{{with .nil}}x{{else with .s}}{{.}}{{else}}no{{end}}", "hi"),
    # range
    ("{{range .l}}{{.}},{{end}}", "a,b,c,"),
    ("{{range $v := .l}}{{$v}}{{.}}{{end}}", "aabbcc"),
    ("{{range $i, $v := .l}}{{$i}}{{$v}}{{end}}", "0a1b2c"),
    ("{{range .m}}{{.}}{{end}} {{range $k, $v := .m}}{{$k}}={{$v}};{{end}}", "12 a=1;b=2;"),
    ("{{range .empty}}x{{else}}none{{end}}{{range .nil}}x{{else}}none{{end}}", "nonenone"),
    ("{{range 3}}{{.}}{{end}}{{range $i := .n}}{{$i}}{{end}}{{range 0}}{{else}}z{{end}}", "012012z"),
    ("{{range -2}}x{{else}}none{{end}}", "none"),
    ("{{range .rows}}{{.name}}{{range $.l}}{{.}}{{end}}{{end}}", "AabcBabc"),
    ("{{range .l}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
    ("{{range .l}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}!", "a!"),
    ("{{range .rows}}{{range $.l}}{{break}}{{end}}{{.name}}{{end}}", "AB"),
    ("{{range .l}}{{range $.empty}}{{else}}{{break}}{{end}}{{.}}{{end}}", "abc"),
    ("{{range .l}}{{range $.empty}}{{else}}{{continue}}{{end}}{{.}}{{end}}", ""),
    ("{{$i := 0}}{{$v := 0}}{{range $i, $v = .l}}{{end}}{{$i}}{{$v}}", "2c"),
    # templates
    ('{{define "t"}}<{{.}}>{{end}}{{template "t" .s}}{{template "t"}}', "<hi><<no value>>"),
    ('{{template "late" 1}}{{define "late"}}{{$}}{{end}}', "1"),
    ('{{block "b" .deep.x}}[{{.y}}]{{end}}', "[z]"),
    ('{{define "a"}}{{template "b" .}}{{end}}{{define "b"}}{{.s}}{{end}}{{template "a" .}}', "hi"),
    ('{{define "e"}} {{end}}{{define "e"}}x{{end}}{{template "e"}}', "x"),
    (
        '{{define "r"}}{{.}}{{if gt . 0}}{{template "r" (sub . 1)}}{{end}}{{end}}{{template "r" 3}}',
        "3210",
    ),
    # short circuits
    ("{{and 1 0 (fail \"x\")}} {{or 0 \"\" 5 (fail \"x\")}} {{and 1 2}} {{or 0 \"\"}}", "0 5 2 "),
    ("{{and .missing .missing.x}} {{1 | and 2}} {{0 | or 7}}", "<no value> 1 7"),
]  # fmt: skip

BROKEN = [
    ("a\n{{", 2, "not closed"),
    ("a\n\n{{ .x", 3, "not closed with `}}`"),
    ('{{ "x }}', 1, "a string is not closed"),
    ("{{ `x }}", 1, "raw string is not closed"),
    ("{{ 'x }}", 1, "character constant is not closed"),
    ("\n{{/* x }}", 2, "comment is not closed"),
    ("{{/* x */ y}}", 1, "alone"),
    ("{{ # }}", 1, "no meaning"),
    ("{{ .x# }}", 1, "without a space"),
    ("{{ 1.x }}", 1, "no number"),
    ("{{ 0xZZ }}", 1, "no number"),
    ("{{ 3i }}", 1, "complex"),
    ("{{ 99999999999999999999 }}", 1, "64 bits"),
    ("{{ 1e999 }}", 1, "64 bits"),
    (r'{{ "\q" }}', 1, "escape"),
    (r'{{ "\777" }}', 1, "escape"),
    (r'{{ "\ud800" }}', 1, "no character"),
    ("{{ 'ab' }}", 1, "more than one"),
    ("{{}}", 1, "value is missing"),
    ("{{ if }}{{end}}", 1, "value is missing in if"),
    ("{{ if 1 }}x", 1, "`{{end}}` is missing"),
    ("{{ end }}", 1, "no block"),
    ("{{ else }}", 1, "no block"),
    ("{{if 1}}{{else}}{{else}}{{end}}", 1, "more than one `else`"),
    ("{{range .x}}{{else if .y}}{{end}}", 1, "`else`"),
    ("{{ break }}", 1, "outside of a `range`"),
    ('{{range .x}}{{block "b" .}}{{continue}}{{end}}{{end}}', 1, "outside of a `range`"),
    ("x\n{{ nope .x }}", 2, "`nope` is not defined"),
    ("{{ $x }}", 1, "`$x` is not defined"),
    ("{{ $x = 1 }}", 1, "`$x` is not defined"),
    ("{{if 1}}{{$x := 1}}{{end}}{{$x}}", 1, "`$x` is not defined"),
    ('{{$x := 1}}{{define "t"}}{{$x}}{{end}}', 1, "`$x` is not defined"),
    ("{{ $a, $b := 1 }}", 1, "too many variables"),
    ("{{range $a, $b, $c := .x}}{{end}}", 1, "too many variables"),
    ("{{ (1 }}", 1, "parentheses"),
    ("{{ 1) }}", 1, "no place"),
    ("{{ nil }}", 1, "nil"),
    ('{{ "a".x }}', 1, "no fields"),
    ("{{ 1 | 2 }}", 1, "after `|`"),
    ("{{ 1 | .x | . }}", 1, "after `|`"),
    ('{{ "a""b" }}', 1, "space"),
    ("{{ template x }}", 1, "string in quotes"),
    ('{{if 1}}{{define "x"}}{{end}}{{end}}', 1, "top of the template"),
    ('{{define "x"}}a{{end}}{{define "x"}}b{{end}}', 1, "defined twice"),
    ("{{ env \"HOME\" }}", 1, "`env` is refused"),
    ("{{ call .x }}", 1, "`call` is refused"),
    ("{{ .s | regexMatch \"x\" }}", 1, "`regexMatch` is refused"),
]  # fmt: skip

FAILING = [
    ("a\n{{ .nil.x }}", 2, "nil"),
    ("{{ .s.x }}", 1, "no field `.x` in a value of type string"),
    ("{{range .mixed}}{{.x}}{{end}}", 1, "no field"),
    ("{{ .s 1 }}", 1, "takes no arguments"),
    ("{{ 1 | .s }}", 1, "takes no arguments"),
    ('{{range ""}}{{else}}{{end}}', 1, "range cannot go over a value of type string"),
    ("{{range .s}}{{end}}", 1, "range cannot go over a value of type string"),
    ("{{range $i, $v := 3}}{{end}}", 1, "two variables"),
    ('\n\n{{template "none"}}', 3, "'none' is not defined"),
    ("{{ upper 5 }}", 1, "argument 1 of upper must be a string, not int"),
    ("{{ upper .missing }}", 1, "not <nil>"),
    ("{{ upper }}", 1, "takes 1 argument, and got 0"),
    ('{{ upper "a" "b" }}', 1, "takes 1 argument, and got 2"),
    ("{{ eq 1 }}", 1, "takes at least 2"),
    ('{{ eq 1 "1" }}', 1, "int and string cannot be compared"),
    ("{{ eq .m .m }}", 1, "cannot be compared"),
    ("{{ lt true false }}", 1, "no order"),
    ("{{ len 3 }}", 1, "no length"),
    ("{{ index .l 3 }}", 1, "out of range"),
    ("{{ index .l -1 }}", 1, "out of range"),
    ("{{ index .nil 1 }}", 1, "no items"),
    ("{{ slice .s 3 }}", 1, "out of range"),
    ("{{ slice .s 2 1 }}", 1, "out of range"),
    ("1\n2\n{{ if .s }}\n{{ fail \"no system message, please\" }}{{ end }}", 4, "no system message, please"),
    ("{{ and false ($x := 1) }}{{ $x }}", 1, "was not set"),
    ("{{ div 1 0 }}", 1, "divided by zero"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "text"), LANGUAGE, ids=[row[0] for row in LANGUAGE])
def test_like_go(template: str, text: str | None) -> None:
    rendered = parse(template).render(DATA)
    assert rendered == text or text is None


@pytest.mark.parametrize(("template", "line", "said"), BROKEN, ids=[row[0] for row in BROKEN])
def test_what_is_no_template_is_refused_with_its_line(template: str, line: int, said: str) -> None:
    with pytest.raises(TemplateError) as error:
        parse(template, "chat")
    assert (error.value.name, error.value.line) == ("chat", line)
    assert said in error.value.reason


@pytest.mark.parametrize(("template", "line", "said"), FAILING, ids=[row[0] for row in FAILING])
def test_what_fails_on_the_data_says_where(template: str, line: int, said: str) -> None:
    with pytest.raises(TemplateError) as error:
        parse(template).render(DATA)
    assert error.value.line == line
    assert said in error.value.reason


def test_an_error_is_the_requests_fault() -> None:
    with pytest.raises(InvalidRequest, match="template 'edit', line 1: ") as error:
        parse('{{ fail "no" }}', "edit").render({})
    assert error.value.info.status == 400


@given(st.text())
def test_text_without_actions_is_itself(text: str) -> None:
    if "{{" not in text:
        assert parse(text).render({}) == text


WORDS = [
    "{{", "}}", "{{-", " -}}", " ", "\n", "if", "else", "end", "range", "with", "define", "template", "block", "break",
    '"t"', "`r`", "'c'", "$x", "$", ":=", "=", "|", "(", ")", ",", ".", ".a", ".l", ".m.b", "1", "-2", "0.5", "true",
    "nil", "printf", '"%v%d"', "index", "len", "eq", "and", "dict", "list", "set", "toJson", "until", "repeat", "/*",
    "*/", "{{end}}", "{{if .a}}", "{{range .l}}", "{{.a}}", "\\", '"', "x", "é", "\x00", "substr", "round", "date",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=25))
def test_nothing_but_template_errors(pieces: list[str]) -> None:
    data = {"a": 1, "l": [1, None, "x"], "m": {"b": {}}}
    try:
        parse("".join(pieces)).render(data, max_steps=5000, max_output=5000)
    except TemplateError:
        pass
