"""The functions of text/template itself: each row renders as Go renders it."""

from __future__ import annotations

import pytest

from localai_flask.gotemplate import parse

DATA = {
    "s": "Hello wörld",
    "l": [3, 1, 2, 1, None, ""],
    "m": {"b": 2, "a": {"x": 1}},
    "f": 2.5,
    "nil": None,
    "html": "<a href='x'>&\"",
    "moment": 1257894000,
}

BUILTINS = [
    ('{{and 1 ""}}|{{and 1 2}}', "|2"),
    ('{{or "" 2}}|{{or 0 ""}}', "2|"),
    ("{{not 0}} {{not .s}}", "true false"),
    ('{{eq 1 1}} {{eq "a" "b" "a"}} {{eq .nil nil}} {{eq .f 2.5}} {{eq "x" .nil}}', "true true true true false"),
    ('{{ne 1 2}} {{ne "a" "a"}}', "true false"),
    ('{{lt 1 2}} {{lt "b" "a"}} {{lt 1.5 2.5}}', "true false true"),
    ("{{le 2 2}} {{le 3 2}}", "true false"),
    ("{{gt 2 1}} {{gt 1 1}}", "true false"),
    ("{{ge 1 1}} {{ge 1 2}}", "true false"),
    ("{{len .s}} {{len .l}} {{len .m}}", "12 6 2"),
    ('{{index .l 0}} {{index .m "a" "x"}} {{index "abc" 1}} {{index .s}}', "3 1 98 Hello wörld"),
    ("{{slice .l 1 3}} {{slice .l 4}} {{slice (list)}}", "[1 2] [<nil> ] <no value>"),
    ('{{print "a" "b" 1 2 "c" .nil}}|{{print}}', "ab1 2c<nil>|"),
    ('{{println "a" 1 nil}}|{{println}}', "a 1 <nil>\n|\n"),
    ("{{html .html}} {{html 1 2}} {{html .nil}}", "&lt;a href=&#39;x&#39;&gt;&amp;&#34; 1 2 &lt;no value&gt;"),
    (r'{{js .html "\\ =\n"}}', r"\u003Ca href\u003D\'x\'\u003E\u0026\"\\ \u003D\u000A"),
    ('{{urlquery "a b" "/ü~"}}', "a+b%2F%C3%BC~"),
]

PRINTF = [
    ('{{printf "%v %v %v %v %v" 1 "a" nil true 2.5}}', "1 a <nil> true 2.5"),
    ('{{printf "%s|%q|%x|%X|% x" "hi" "a\\"b\\n" "hi" "hi" "h"}}', 'hi|"a\\"b\\n"|6869|6869|68'),
    ('{{printf "%d %+d %x %X %#x %o %b %c %U %q" 42 42 255 255 255 8 5 65 65 65}}',
     "42 +42 ff FF 0xff 10 101 A U+0041 'A'"),
    ('{{printf "%f %.2f %e %g %.3g %G %8.3f|%-8.1f|%08.2f" 1.5 2.345 1500.0 1e21 1234.5 1e-7 3.14159 2.5 -1.5}}',
     "1.500000 2.35 1.500000e+03 1e+21 1.23e+03 1E-07    3.142|2.5     |-0001.50"),
    ('{{printf "%5d|%-5d|%05d|%+05d|% d" 42 42 42 42 42}}', "   42|42   |00042|+0042| 42"),
    ('{{printf "%5s|%-5s|%.1s|%5.1s|%05s" "ab" "ab" "éb" "ab" "ab"}}', "   ab|ab   |é|    a|000ab"),
    ('{{printf "%t %5t %v" true false false}}', "true false false"),
    ('{{printf "%T %T %T %T %T %T" 1 "a" 1.5 true nil .l}}', "int string float64 bool <nil> []interface {}"),
    ('{{printf "%*d|%-*d|%.*f" 5 42 4 7 2 3.14159}}', "   42|7   |3.14"),
    ('{{printf "%[2]d %[1]d" 1 2}}', "2 1"),
    ('{{printf "100%% %s" "x"}}', "100% x"),
    ('{{printf "%d" "x"}} {{printf "%s" 5}} {{printf "%d" 2.5}} {{printf "%t" 1}} {{printf "%z" 1}} '
     '{{printf "%d" nil}}',
     "%!d(string=x) %!s(int=5) %!d(float64=2.5) %!t(int=1) %!z(int=1) %!d(<nil>)"),
    ('{{printf "%d %d" 1}} {{printf "%d" 1 2 "x"}} {{printf "%"}}',
     "1 %!d(MISSING) 1%!(EXTRA int=2, string=x) %!(NOVERB)"),
    ('{{printf "%v %s %q %d" (list 1 "a") (list "b" "c") (list "d") (list 1 2)}}', '[1 a] [b c] ["d"] [1 2]'),
    ('{{printf "%v %d %3d" .m (dict "k" 1) (list 1 2)}}', "map[a:map[x:1] b:2] map[%!d(string=k):1] [  1   2]"),
    ('{{printf "%q %+q %#q %q" "é" "é" "a" "\\x00\\u200b"}}', '"é" "\\u00e9" `a` "\\x00\\u200b"'),
    ('{{printf "%6.2f|%-8q|%8q" 3.14159 "a" "b"}}', '  3.14|"a"     |     "b"'),
]  # fmt: skip

ROWS = [*BUILTINS, *PRINTF]


@pytest.mark.parametrize(("template", "text"), ROWS, ids=[row[0] for row in ROWS])
def test_like_go(template: str, text: str) -> None:
    assert parse(template).render(DATA) == text
