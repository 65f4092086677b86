"""sprig's functions: at least one row for each, with what sprig makes of it; and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localai_flask.gotemplate import TemplateError, parse
from localai_flask.gotemplate.functions.table import FUNCTIONS, REFUSED
from tests.unit.test_gotemplate_builtins import BUILTINS, DATA

STRINGS = [
    ('{{trim " \t a b\\n "}}|', "a b|"),
    ('{{trimAll "$" "$5.00$"}} {{trimall "ab" "abcba"}}', "5.00 c"),
    ('{{trimSuffix "-" "hello-"}} {{trimSuffix "x" "hello-"}}', "hello hello-"),
    ('{{trimPrefix "-" "-hello-"}}', "hello-"),
    ('{{upper "héß"}} {{upper "abc"}}', "HÉß ABC"),
    ('{{lower "HÉΣ"}} {{lower "ABC"}}', "héσ abc"),
    ('{{title "hello wörld foo-bar it\'s a_b"}}', "Hello Wörld Foo-Bar It'S A_b"),
    ('{{untitle "Hello World"}}', "hello world"),
    ('{{repeat 3 "ab"}}{{repeat 0 "x"}}', "ababab"),
    ('{{substr 0 5 "hello world"}} {{substr -1 2 "hello"}} {{substr 3 -1 "hello"}} {{substr 1 99 "hello"}}',
     "hello he lo ello"),
    ('{{nospace " h e\\tl l\\n o "}}', "hello"),
    ('{{trunc 5 "hello world"}} {{trunc -5 "hello world"}} {{trunc 99 "a"}} {{trunc -99 "a"}}', "hello world a a"),
    ('{{abbrev 5 "hello world"}} {{abbrev 3 "hello"}} {{abbrev 5 "hello"}}', "he... hello hello"),
    ('{{abbrevboth 5 10 "1234 5678 9123"}} {{abbrevboth 10 8 "1234 5678 9123"}} {{abbrevboth 0 8 "1234 5678 9123"}}',
     "...5678... ... 9123 1234 ..."),
    ('{{initials "First Try"}}', "FT"),
    ('{{wrap 5 "the quick brownish fox"}}', "the\nquick\nbrownish\nfox"),
    ('{{wrapWith 5 "-" "the quick brownish fox"}}', "the-quick-brown-ish-fox"),
    ('{{contains "cat" "catch"}} {{contains "x" "catch"}}', "true false"),
    ('{{hasPrefix "cat" "catch"}}', "true"),
    ('{{hasSuffix "ch" "catch"}}', "true"),
    ('{{quote "a\\"b" 1 nil "é"}}', '"a\\"b" "1" "é"'),
    ('{{squote "a" 1 nil}}', "'a' '1'"),
    ('{{cat "hello" 1 nil true}}', "hello 1 true"),
    ('{{indent 4 "a\\nb"}}', "    a\n    b"),
    ('{{nindent 2 "a\\nb"}}', "\n  a\n  b"),
    ('{{"I Am Henry" | replace " " "-"}}', "I-Am-Henry"),
    ('{{plural "one" "many" 1}} {{plural "one" "many" 2}}', "one many"),
    ('{{snakecase "FirstName"}} {{snakecase "HTTPServer"}} {{snakecase "NoHTTPS"}} {{snakecase "GO_PATH"}}'
     ' {{snakecase "go path-x"}} {{snakecase "http2xx"}} {{snakecase "Bld4Floor3rd"}} {{snakecase "a.B"}}',
     "first_name http_server no_https go_path go_path_x http_2xx bld4_floor_3rd a.b"),
    ('{{camelcase "http_server"}} {{camelcase "_camel-case"}} {{camelcase "no  https"}} {{camelcase "ALL"}} '
     '{{camelcase "a_"}}',
     "HttpServer _CamelCase No Https All A_"),
    ('{{kebabcase "FirstName"}} {{kebabcase "HTTP20xOK"}}', "first-name http-20x-ok"),
    ('{{swapcase "This Is A.Test"}}', "tHIS iS a.tEST"),
    ('{{join "_" (list "hello" 1 nil true)}} {{join "-" "x"}}', "hello_1_true x"),
    ('{{splitList "$" "foo$bar$"}} {{splitList "" "aé"}}', "[foo bar ] [a é]"),
    ('{{$a := split "$" "foo$bar"}}{{$a._0}} {{$a._1}} {{$a._2}}', "foo bar <no value>"),
    ('{{$a := splitn "$" 2 "foo$bar$baz"}}{{$a._0}} {{$a._1}}', "foo bar$baz"),
    ('{{sortAlpha (list "d" "b" 10 9)}}', "[10 9 b d]"),
    ('{{toString 1}} {{toString (list 1)}} {{typeOf (toString 1)}}', "1 [1] string"),
    ('{{toStrings (list 1 nil "a")}} {{toStrings nil}} {{toStrings 5}}', "[1 a] [] [5]"),
    ("{{hello}}", "Hello!"),
]  # fmt: skip

LISTS = [
    ('{{list 1 "a" nil}} {{tuple 1 2}} {{list}}', "[1 a <nil>] [1 2] []"),
    ("{{first .l}} {{mustFirst .l}} {{first list}}", "3 3 <no value>"),
    ("{{rest (list 1 2 3)}} {{mustRest (list 1)}}", "[2 3] []"),
    ("{{last (list 1 2 3)}} {{mustLast (list 1)}}", "3 1"),
    ("{{initial (list 1 2 3)}} {{mustInitial (list 1)}}", "[1 2] []"),
    ("{{$a := list 1}}{{append $a 2}} {{push $a 3}} {{mustAppend $a 4}} {{mustPush $a 5}} {{$a}}",
     "[1 2] [1 3] [1 4] [1 5] [1]"),
    ("{{prepend (list 1) 0}} {{mustPrepend (list 1) 0}}", "[0 1] [0 1]"),
    ("{{concat (list 1) (list 2 3) list}}", "[1 2 3]"),
    ("{{reverse (list 1 2 3)}} {{mustReverse (list 1 2)}}", "[3 2 1] [2 1]"),
    ("{{uniq .l}} {{mustUniq (list 1 1 (list 1) (list 1))}}", "[3 1 2 <nil> ] [1 [1]]"),
    ("{{without (list 1 2 3 2) 2}} {{mustWithout (list 1 2) 1 2}}", "[1 3] []"),
    ('{{has 2 (list 1 2)}} {{has "x" (list 1)}} {{has 1 nil}} {{mustHas (dict "a" 1) (list (dict "a" 1))}}',
     "true false false true"),
    ('{{compact (list 1 "" 0 nil "a")}} {{mustCompact (list 0)}}', "[1 a] []"),
    ("{{mustSlice (list 1 2 3) 1}}", "[2 3]"),
    ("{{until 3}} {{until -2}} {{until 0}}", "[0 1 2] [0 -1] []"),
    ("{{untilStep 3 9 2}} {{untilStep 3 0 -1}} {{untilStep 0 3 -1}} {{untilStep 3 0 1}}", "[3 5 7] [3 2 1] [] []"),
    ("{{seq 5}}|{{seq -1}}|{{seq 2 5}}|{{seq 5 2}}|{{seq 0 2 10}}|{{seq 0 -2 -5}}|{{seq 5 1 2}}|{{seq}}",
     "1 2 3 4 5|1 0 -1|2 3 4 5|5 4 3 2|0 2 4 6 8 10|0 -2 -4||"),
    ("{{chunk 2 (list 1 2 3)}} {{mustChunk 5 (list 1 2)}}", "[[1 2] [3]] [[1 2]]"),
]  # fmt: skip

DICTS = [
    ('{{dict "a" 1 "b" 2 "c"}} {{dict}} {{dict 1 2}}', "map[a:1 b:2 c:] map[] map[1:2]"),
    ('{{get .m "b"}}|{{get .m "zzz"}}|', "2||"),
    ('{{$d := dict "a" 1}}{{$_ := set $d "b" 2}}{{$d}}{{set $d "a" 3}}', "map[a:1 b:2]map[a:3 b:2]"),
    ('{{$d := dict "a" 1}}{{unset $d "a"}}{{unset $d "x"}}', "map[]map[]"),
    ('{{hasKey .m "a"}} {{hasKey .m "x"}}', "true false"),
    ('{{pluck "a" (dict "a" 1) (dict "b" 2) (dict "a" 3)}}', "[1 3]"),
    ('{{keys .m | sortAlpha}} {{keys (dict "x" 1) (dict "y" 2)}}', "[a b] [x y]"),
    ('{{values (dict "k" 1)}}', "[1]"),
    ('{{pick .m "b" "zzz"}}', "map[b:2]"),
    ('{{omit .m "a" "zzz"}}', "map[b:2]"),
    ('{{merge (dict "a" 1 "e" "" "n" (dict "x" 1)) (dict "a" 2 "b" 3 "e" "f" "n" (dict "x" 2 "y" 3))}}',
     "map[a:1 b:3 e:f n:map[x:1 y:3]]"),
    ('{{mustMerge (dict "a" 1) (dict "a" 2 "b" 3)}}', "map[a:1 b:3]"),
    ('{{mergeOverwrite (dict "a" 1 "k" 1 "n" (dict "x" 1)) (dict "a" 2 "k" 0 "n" (dict "x" 2 "y" 3))}}',
     "map[a:2 k:0 n:map[x:2 y:3]]"),
    ('{{mustMergeOverwrite (dict "a" 1) (dict "a" 2)}}', "map[a:2]"),
    ('{{dig "a" "x" "none" .m}} {{dig "a" "y" "none" .m}} {{dig "q" "y" "none" .m}}', "1 none none"),
    ('{{$d := dict "n" (dict "x" 1)}}{{$c := deepCopy $d}}{{$_ := set $c.n "x" 2}}{{$d}} {{mustDeepCopy (list 1)}}',
     "map[n:map[x:1]] [1]"),
]  # fmt: skip

VALUES = [
    ('{{default "d" ""}} {{default "d" "x"}} {{.nil | default "d"}} {{default "d" 0}} {{default "d"}}', "d x d d d"),
    ('{{empty ""}} {{empty 0}} {{empty .nil}} {{empty .m}} {{empty list}} {{empty false}}',
     "true true true false true true"),
    ('{{coalesce 0 "" nil "x" "y"}} {{coalesce 0}}', "x <no value>"),
    ('{{all 1 "a"}} {{all 1 ""}} {{all}}', "true false true"),
    ('{{any 0 "a"}} {{any 0 ""}} {{any}}', "true false false"),
    ('{{ternary "y" "n" true}} {{false | ternary "y" "n"}}', "y n"),
    ('{{typeOf 1}} {{typeOf "a"}} {{typeOf nil}} {{typeOf .m}} {{typeOf .f}}',
     "int string <nil> map[string]interface {} float64"),
    ('{{typeIs "int" 1}} {{typeIs "string" 1}} {{typeIsLike "int" 1}}', "true false true"),
    ('{{kindOf 1}} {{kindOf "a"}} {{kindOf nil}} {{kindOf .m}} {{kindOf .l}} {{kindOf true}}',
     "int string invalid map slice bool"),
    ('{{kindIs "map" .m}} {{kindIs "int" "a"}}', "true false"),
    ('{{deepEqual (list 1 (dict "a" 2)) (list 1 (dict "a" 2))}} {{deepEqual 1 "1"}}', "true false"),
    ("{{toJson .m}} {{toJson .l}} {{mustToJson nil}}", '{"a":{"x":1},"b":2} [3,1,2,1,null,""] null'),
    ("{{toJson .html}} {{toJson true}} {{toJson 1.5}} {{toJson 2.0}}",
     r'"\u003ca href=' + r"'x'\u003e\u0026\"" + '" true 1.5 2'),
    ('{{toJson "é\\n\\t\\r\\x01\\x7f\\u2028/\\\\"}}', '"é\\n\\t\\r\\u0001\x7f\\u2028/\\\\"'),
    ("{{toJson 1e21}} {{toJson 1e20}} {{toJson 1e-7}} {{toJson 1e-6}}", "1e+21 100000000000000000000 1e-7 0.000001"),
    ("{{toPrettyJson .m}} {{mustToPrettyJson list}} {{toPrettyJson dict}}",
     '{\n  "a": {\n    "x": 1\n  },\n  "b": 2\n} [] {}'),
    ('{{toRawJson .html}} {{mustToRawJson "<&>"}}', '"<a href=\'x\'>&\\"" "<&>"'),
    ('{{$x := fromJson `{"a": [1, 2.5, "x", null, true]}`}}{{$x.a}} {{fromJson "nonsense"}}',
     "[1 2.5 x <nil> true] <no value>"),
    ('{{mustFromJson "[1]"}}', "[1]"),
]  # fmt: skip

NUMBERS = [
    ('{{int "42"}} {{int 3.9}} {{int "x"}} {{int true}} {{int nil}} {{int -3.9}} {{int "0x10"}} {{int "5.0"}}',
     "42 3 0 1 0 -3 16 5"),
    ('{{int64 "7"}}', "7"),
    ('{{float64 "1.5"}} {{float64 2}} {{float64 "x"}}', "1.5 2 0"),
    ('{{atoi "42"}} {{atoi "x"}} {{atoi "-1"}}', "42 0 -1"),
    ('{{toDecimal "777"}} {{toDecimal 777}} {{toDecimal "9"}}', "511 511 0"),
    ('{{add 1 2 3}} {{add}} {{add "1" 2.9}} {{add 9223372036854775807 1}}', "6 0 3 -9223372036854775808"),
    ("{{add1 4}}", "5"),
    ("{{sub 5 7}}", "-2"),
    ("{{mul 2 3 4}} {{mul 9223372036854775807 2}}", "24 -2"),
    ("{{div 7 2}} {{div -7 2}} {{div 7 -2}}", "3 -3 -3"),
    ("{{mod 7 3}} {{mod -7 3}} {{mod 7 -3}}", "1 -1 1"),
    ("{{max 1 5 3}} {{biggest 1 2}}", "5 2"),
    ("{{min 4 2 3}}", "2"),
    ("{{maxf 1.5 2.5}} {{maxf 1 2}}", "2.5 2"),
    ("{{minf 1.5 2.5}}", "1.5"),
    ("{{addf 1.1 2.2}} {{addf}} {{addf 1 2}}", "3.3 0 3"),
    ("{{add1f 0.1}}", "1.1"),
    ("{{subf 3.3 1.1 0.2}}", "2"),
    ("{{mulf 1.1 1.1}}", "1.21"),
    ("{{divf 10 4}} {{divf 1 3}} {{divf 2 3}}", "2.5 0.3333333333333333 0.6666666666666667"),
    ("{{ceil 1.2}} {{ceil -1.2}} {{ceil 3}}", "2 -1 3"),
    ("{{floor 1.8}} {{floor -1.2}} {{floor 123.9999}}", "1 -2 123"),
    ("{{round 123.555555 3}} {{round 2.5 0}} {{round 1.15 1 0.6}} {{round -2.4 0}}", "123.556 3 1.1 -3"),
]  # fmt: skip

DATES = [
    ('{{dateInZone "2006-01-02 15:04:05 -0700 MST" .moment "UTC"}}', "2009-11-10 23:00:00 +0000 UTC"),
    ('{{date_in_zone "Mon Monday Jan January 1 01 2 02 _2 06" .moment "UTC"}}',
     "Tue Tuesday Nov November 11 11 10 10 10 09"),
    ('{{dateInZone "3:04PM 03:4 pm 5 Z07:00 Z0700 -07 002 __2" 1234567890 "UTC"}}',
     "11:31PM 11:31 pm 30 Z Z +00 044  44"),
    ('{{dateInZone "2006-01-02T15:04:05Z07:00 MST" .moment "America/New_York"}}', "2009-11-10T18:00:00-05:00 EST"),
    ('{{dateInZone "15:04:05.000 .999 2006." .moment "UTC"}}', "23:00:00.000  2009."),
    ('{{date "2006" .moment}} {{htmlDate 86400}}', "2009 1970-01-02"),
    ('{{htmlDateInZone .moment "UTC"}} {{unixEpoch .moment}}', "2009-11-10 1257894000"),
    ('{{$d := 1582848000}}{{dateModify "36h" $d | unixEpoch}} '
     '{{date_modify "-1h30m" $d | unixEpoch}} {{mustDateModify "1.5s" $d | unixEpoch}} '
     '{{dateInZone "2006-01-02" (must_date_modify "24h" $d) "UTC"}}', "1582977600 1582842600 1582848001 2020-02-29"),
    ('{{duration "3725"}} {{duration "59"}} {{duration "60"}} {{duration "-5"}} {{duration "0"}}',
     "1h2m5s 59s 1m0s -5s 0s"),
    ('{{durationRound "2h10m5s"}} {{durationRound "9600h"}} {{durationRound "1s"}} {{durationRound "1500ms"}}',
     "2h 1y 0s 1s"),
]  # fmt: skip

ENCODING = [
    ('{{b64enc "héllo?"}} {{b64dec "aMOpbGxvPw=="}}', "aMOpbGxvPw== héllo?"),
    ('{{b32enc "hi"}} {{b32dec "NBUQ===="}}', "NBUQ==== hi"),
    ('{{base "/a/b.txt"}} {{base ""}} {{base "/"}} {{base "a/"}}', "b.txt . / a"),
    ('{{dir "/a/b.txt"}} {{dir "x"}} {{dir "/a"}} {{dir "a/b/../c"}}', "/a . / a"),
    ('{{clean "/a/../b//c/."}} {{clean ""}} {{clean "//x"}}', "/b/c . /x"),
    ('{{ext "a/b.tar.gz"}} {{ext "a.b/c"}}|', ".gz |"),
    ('{{isAbs "/a"}} {{isAbs "a"}}', "true false"),
]

RANDOM = [
    ("{{now}}", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)? [+-]\d{4} .+"),
    ("{{ago now}}", "0s"),
    ('{{date "2006-01-02" now}}', r"\d{4}-\d\d-\d\d"),
    ("{{toJson now}}", '"[0-9-]+T[0-9:.]+(Z|[+-][0-9:]+)"'),
]

EXACT = [*STRINGS, *LISTS, *DICTS, *VALUES, *NUMBERS, *DATES, *ENCODING]


@pytest.mark.parametrize(("template", "text"), EXACT, ids=[row[0] for row in EXACT])
def test_like_sprig(template: str, text: str) -> None:
    assert parse(template).render(DATA) == text


@pytest.mark.parametrize(("template", "pattern"), RANDOM, ids=[row[0] for row in RANDOM])
def test_what_is_never_the_same(template: str, pattern: str) -> None:
    assert re.fullmatch(pattern, parse(template).render(DATA))


def test_every_function_has_a_row() -> None:
    called = set(re.findall(r"\w+", " ".join(row[0] for row in (*BUILTINS, *EXACT, *RANDOM))))
    assert set(FUNCTIONS) - called - {"fail", "printf"} == set()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_by_name(name: str) -> None:
    assert name not in FUNCTIONS
    with pytest.raises(TemplateError, match=f"`{name}` is refused: "):
        parse("{{" + name + "}}")


FAULTS = [
    ('{{mustFromJson "{"}}', "no JSON"),
    ('{{b64dec "!"}}', "no base64"),
    ('{{b32dec "!"}}', "no base32"),
    ('{{date "2006" "today"}}', "must come from"),
    ('{{date "2006" 99999999999999}}', "no date that can be written"),
    ('{{dateInZone "2006" 0 "Mars/Base"}}', "not known"),
    ('{{dateInZone "2006" 0 "../../../etc/passwd"}}', "not known"),
    ('{{dateModify "soon" now}}', "no duration"),
    ('{{dateModify "99999999h" now}}', "years 1 to 9999"),
    ('{{duration "x"}}', "number of seconds"),
    ('{{repeat -1 "x"}}', "negative"),
    ('{{substr 9 2 "abc"}}', "not inside"),
    ("{{chunk 0 list}}", "at least 1"),
    ("{{has 1 2}}", "in a list"),
    ('{{dig "a" 1}}', "at least 3"),
    ('{{dig "b" "x" 1 .m}}', "found a value of type int"),
    ("{{mod 1 0}}", "divided by zero"),
    ("{{divf 1 0}}", "divided by zero"),
    ("{{divf 1e308 5e-324 5e-324}}", "beyond what can be written"),
    ("{{first 5}}", "must be a list, not int"),
    ('{{set .l "a" 1}}', "must be a map"),
    ("{{trunc 1.5 .s}}", "must be an integer, not float64"),
    ("{{ternary 1 2 3}}", "must be true or false"),
    ('{{printf "%#v" 1}}', "not supported"),
    ('{{printf "%*d" "x" 1}}', "integer argument"),
    ("{{slice .l 1 2 3}}", "at most 3"),
]


@pytest.mark.parametrize(("template", "said"), FAULTS, ids=[row[0] for row in FAULTS])
def test_what_cannot_be_done_is_an_error(template: str, said: str) -> None:
    with pytest.raises(TemplateError) as error:
        parse(template).render(DATA)
    assert said in error.value.reason


def test_the_documentation_lists_every_function() -> None:
    page = (Path(__file__).parents[2] / "docs" / "go-templates.md").read_text()
    assert set(FUNCTIONS) | set(REFUSED) <= set(re.findall(r"\w+", page))
