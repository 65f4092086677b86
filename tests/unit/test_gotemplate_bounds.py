"""Hostile templates: whatever they try ends, in little memory, with an error that names the bound."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localai_flask.gotemplate import TemplateError, parse
from localai_flask.gotemplate.functions.table import FUNCTIONS

BIG = "{{$x := repeat 100000 `ab-_ .1`}}"
NESTED_LIST = "{{$x := list}}{{range until 200}}{{$x = list $x}}{{end}}"
DOUBLED_LIST = "{{$x := list 1}}{{range until 60}}{{$x = list $x $x}}{{end}}"
WIDE_LIST = "{{$s := repeat 100000 `a`}}{{$x := list}}{{range until 200}}{{$x = append $x $s}}{{end}}"
CYCLE = '{{$d := dict}}{{$_ := set $d "self" $d}}'

HOSTILE = [
    ('{{define "r"}}{{template "r" .}}{{end}}{{template "r" .}}', "nested more than"),
    ('{{define "a"}}{{template "b"}}{{end}}{{define "b"}}{{if true}}{{template "a"}}{{end}}{{end}}{{template "a"}}',
     "nested more than"),
    ('{{template "template" .}}', "nested more than"),
    ('{{define "r"}}{{template "r" .}}{{template "r" .}}{{end}}{{range 9}}{{template "r" .}}{{end}}',
     "nested more than"),
    ('{{define "x"}}{{if gt . 0}}{{template "x" (sub . 1)}}{{template "x" (sub . 1)}}{{end}}{{end}}{{template "x" 22}}',
     "steps (max_steps)"),
    ("{{range 99999999999}}{{end}}", "steps (max_steps)"),
    ("{{range until 999}}{{range until 999}}{{range until 999}}{{end}}{{end}}{{end}}", "steps (max_steps)"),
    ("{{until 99999999}}", "steps (max_steps)"),
    ("{{until 9223372036854775807}}", "steps (max_steps)"),
    ("{{seq 1 99999999}}", "steps (max_steps)"),
    ('{{repeat 999999999 "xxxxxxxxxx"}}', "characters (max_output)"),
    ('{{repeat 9223372036854775807 "x"}}', "characters (max_output)"),
    ('{{indent 999999999 "x"}}', "characters (max_output)"),
    ('{{printf "%999999999d" 1}}', "width or precision"),
    ('{{printf "%.999999999f" 1.5}}', "width or precision"),
    ('{{printf "%*d" 999999999 1}}', "width or precision"),
    ('{{range until 99}}{{printf "%999999d" 1}}{{end}}', "allowed"),
    ("{{range until 99}}{{repeat 999999 `x`}}{{end}}", "allowed"),
    ("{{$x := `x`}}{{range until 60}}{{$x = print $x $x}}{{end}}", "allowed"),
    ("{{$x := `x\n`}}{{range until 60}}{{$x = $x | replace `x` `xx`}}{{end}}", "allowed"),
    (BIG + "{{range until 999}}{{$y := upper $x}}{{end}}", "steps (max_steps)"),
    (BIG + "{{$x | replace `` $x}}", "allowed"),
    (BIG + "{{splitList `` $x}}", "steps (max_steps)"),
    (DOUBLED_LIST + "{{$x}}", "allowed"),
    (DOUBLED_LIST + "{{toJson $x}}", "allowed"),
    (DOUBLED_LIST + "{{deepCopy $x}}", "steps (max_steps)"),
    (DOUBLED_LIST + "{{deepEqual $x (deepCopy $x)}}", "steps (max_steps)"),
    (DOUBLED_LIST + '{{printf "%d" $x}}', "allowed"),
    (WIDE_LIST + "{{join `` $x}}", "allowed"),
    (NESTED_LIST + "{{$x}}", "nested more than"),
    (NESTED_LIST + "{{toJson $x}}", "nested more than"),
    (NESTED_LIST + "{{deepCopy $x}}", "nested more than"),
    (NESTED_LIST + '{{printf "%d" $x}}', "nested more than"),
    (CYCLE + "{{$d}}", "nested more than"),
    (CYCLE + "{{toJson $d}}", "nested more than"),
    (CYCLE + "{{merge $d $d}}", "nested more than"),
    ("{{fromJson (repeat 5000 `[`)}}", None),
    ("{{mustFromJson (print (repeat 500 `[`) (repeat 500 `]`))}}", "nested more than"),
]  # fmt: skip


@pytest.mark.parametrize(("template", "said"), HOSTILE, ids=[row[0][-60:] for row in HOSTILE])
def test_hostile_templates_end(template: str, said: str | None) -> None:
    compiled = parse(template)
    tracemalloc.start()
    try:
        compiled.render({}, max_steps=50_000, max_output=1_000_000)
    except TemplateError as error:
        assert said is not None
        assert said in error.reason
    else:
        assert said is None
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 60_000_000


SLOW_PATTERNS = [
    f"{BIG}{{{{{name} $x}}}}"
    for name in ("camelcase", "snakecase", "title", "untitle", "initials", "swapcase", "quote", "html", "js")
] + [
    f"{{{{$x := repeat 100000 `{unit}`}}}}{{{{{action}}}}}"
    for unit, action in (
        ("_", "camelcase (print `a` $x)"),
        ("A", "snakecase $x"),
        ("1", "snakecase (print `a` $x)"),
        ("1", "int $x"),
        ("1", "float64 $x"),
        ("1", "atoi $x"),
        ("1", "toDecimal $x"),
        ("1", "fromJson $x"),
        ("1h", "dateModify $x now | len | print | empty"),
        ("1", "durationRound `1s` | print"),
        (".0", "int $x"),
        ("2006", "date $x 0"),
        ("_2", "date $x 0"),
        ("%", "printf $x"),
        ("%[1]v", "printf $x 1"),
        ("/a/..", "clean $x"),
        ("a ", "wrap 1 $x"),
        ("a", "wrapWith 1 `-` $x"),
        ("ab", "trimAll $x $x"),
    )
]


@pytest.mark.parametrize("template", SLOW_PATTERNS, ids=[text[-40:] for text in SLOW_PATTERNS])
def test_long_strings_cost_no_more_than_their_length(template: str) -> None:
    compiled = parse(template)
    began = time.process_time()
    try:
        compiled.render({})
    except TemplateError:
        pass
    assert time.process_time() - began < 10


@pytest.mark.parametrize(
    "template",
    [
        "{{if true}}" * 5000 + "{{end}}" * 5000,
        "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
        "{{range .}}" * 500,
        '{{block "a" .}}' * 500,
    ],
)
def test_deep_nesting_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="nested"):
        parse(template)


def test_long_chains_of_else_are_not_nesting() -> None:
    arms = "".join(f"{{{{else if eq . {number}}}}}{number}" for number in range(1000))
    assert parse("{{if false}}" + arms + "{{end}}").render(999) == "999"


def test_the_deepest_that_is_allowed_works() -> None:
    assert parse("{{if true}}" * 90 + "x" + "{{end}}" * 90).render({}) == "x"
    assert parse("{{" + "(" * 90 + "1" + ")" * 90 + "}}").render({}) == "1"


def test_deep_data_are_refused() -> None:
    data: list = []
    for _ in range(100_000):
        data = [data]
    with pytest.raises(TemplateError, match="nested more than"):
        parse("x").render(data)


def test_bounds_are_the_callers() -> None:
    template = parse("{{range until .}}ab{{end}}")
    assert template.render(50, max_output=100) == "ab" * 50
    with pytest.raises(TemplateError, match="more than the allowed 100 characters"):
        template.render(51, max_output=100)
    with pytest.raises(TemplateError, match="more than the allowed 100 steps"):
        template.render(51, max_steps=100)


ARGUMENTS = [
    "0", "1", "-1", "2", "7", "300", "-300", "9223372036854775807", "-9223372036854775808", "0.5", "-2.5", "1e308",
    "-1e308", "5e-324", "(mulf 1e308 10)", "nil", "true", "false", ".", "now", "list", "dict", "and", '""', '"a"',
    '"%"', '"%[0]d"', '"%-+# 010.3v"', '"é\\xff\\x00"', '"1e400"', '"0x"', '"2006-01-02 MST -07:00.000"',
    '"0001-01-01 UTC +24:00"',
    '"9999-12-31"', '"-9h9ns"', '"Europe/Berlin"', '"[1, {}]"', '"\\\\"', '(list 1 nil "x")', "(list (list 1) list)",
    '(dict "a" 1)', '(dict "a" (dict "b" nil))', "(repeat 300 `9`)", "(untilStep 0 -9 -2)", "1e18", "-1e19",
    "253402300800",
]  # fmt: skip


@given(st.sampled_from(sorted(FUNCTIONS)), st.lists(st.sampled_from(ARGUMENTS), max_size=4))
@settings(max_examples=500)
def test_no_argument_breaks_a_function(name: str, arguments: list[str]) -> None:
    template = parse("{{" + " ".join([name, *arguments]) + "}}")
    try:
        template.render({"x": None}, max_steps=20_000, max_output=100_000)
    except TemplateError:
        pass


def test_what_the_default_bounds_allow_takes_seconds() -> None:
    began = time.process_time()
    with pytest.raises(TemplateError, match="max_steps"):
        parse(DOUBLED_LIST + "{{toJson $x}}").render({})
    assert time.process_time() - began < 10
