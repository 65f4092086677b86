import datetime

import pytest

from localai_flask.chat.prompt.jinja import bounds as jinjabounds
from localai_flask.chat.prompt.jinja import render as jinja
from localai_flask.errors import ConfigError, InvalidRequest


def render(template: str, **variables: object) -> str:
    return jinja.render(template, variables)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{% if x %}\nyes\n  {% endif %}\nend", "yes\nend"),  # trim_blocks and lstrip_blocks
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ x | tojson }}", '{"b": "\u00e9<>&", "a": [1]}'),
        ("{{ x | tojson(indent=1) }}", '{\n "b": "\u00e9<>&",\n "a": [\n  1\n ]\n}'),
        ("{{ x | tojson(ensure_ascii=True, separators=(',', ':'), sort_keys=true) }}", '{"a":[1],"b":"\\u00e9<>&"}'),
        ("{% generation %}a{{ x.b }}{% endgeneration %}b", "a\u00e9<>&b"),
        ("{{ strftime_now('%Y') }}", str(datetime.datetime.now().year)),
        ("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n * 2 }}", "6"),
        ("{{ missing }}{{ missing is defined }}", "False"),
    ],
)
def test_like_hugging_face(template: str, text: str) -> None:
    assert render(template, x={"b": "\u00e9<>&", "a": [1]}) == text


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ missing.field }}", "missing"),
        ("{{ x + 1 }}", "str"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ x.__class__.__mro__ }}", "__class__"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
        ("{% set _ = y.append(1) %}", "append"),
        ("{{ 'x' * 999999999 }}", "too large"),
        ("{{ 9 ** 9999999 }}", "**"),
        ("{% for i in range(99999999) %}{% endfor %}", "range"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_a_failing_template_is_the_requests_fault(template: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match="chat template") as error:
        render(template, x="text", y=[])
    assert said in str(error.value)


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "{% set l = [] %}{% for i in range(99999) %}{% for j in range(99999) %}{{ l.append(j) }}"
        "{% endfor %}{% endfor %}",
    ],
)
def test_time_is_bounded(monkeypatch: pytest.MonkeyPatch, template: str) -> None:
    monkeypatch.setattr(jinjabounds, "MAX_SECONDS", 0.2)
    with pytest.raises(InvalidRequest, match="takes longer"):
        render(template)


DOUBLED = "{%% set ns = namespace(x=%s) %%}{%% for i in range(99) %%}{%% set ns.x = %s %%}{%% endfor %%}"
BIG = "{% set big = 'x' * 9999999 %}"


@pytest.mark.parametrize(
    "template",
    [
        DOUBLED % ("'ab'", "ns.x + ns.x"),
        DOUBLED % ("'ab'", "ns.x ~ ns.x"),
        DOUBLED % ("[1]", "ns.x + ns.x"),
        DOUBLED % ("9", "ns.x * ns.x"),
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ ns.x }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ ns.x | tojson }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ ns.x == ns }}",
        "{{ 'x'.ljust(999999999) }}",
        "{{ 'x' | center(999999999) }}",
        "{{ '%999999999d' % 3 }}",
        "{{ '%*d' % (999999999, 3) }}",
        "{{ '%999999999d' | format(3) }}",
        "{{ '{:999999999}'.format(3) }}",
        "{{ '{:{}}'.format(3, 999999999) }}",
        BIG + "{{ big.replace('x', big) }}",
        BIG + "{{ ([big] * 99999) | join }}",
        BIG + "{{ ''.join([big] * 99999) }}",
        BIG + "{% set y %}{% for i in range(99999) %}{{ big }}{% endfor %}{% endset %}",
        BIG + "{% set l = [] %}{% for i in range(99999) %}{{ l.append(big + 'x') }}{% endfor %}",
        BIG + "{{ big | list }}",
        "{{ ('a\n' * 999999) | indent(99999) }}",
        "{{ ([[1] * 9999] * 9999) | sum(start=[]) }}",
        "{{ ('a' * 999999) | replace(old='a', new='x' * 99999) }}",
        "{{ ('a' * 999999) | replace(new='x' * 99999, old='') }}",
        "{{ ([1] * 99999) | join(d='x' * 99999) }}",
        "{{ ('a\n' * 999999) | indent(width=99999) }}",
        "{{ ([[1] * 99] * 2999) | tojson(indent=32) }}",
        "{{ 'x' | center(width=999999999) }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ ns.x is eq ns.x }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ [ns.x] in [ns.x, ns.x] }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ [ns.x, ns.x] | sort }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ [ns.x, ns.x] | max }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ ns.x == ns == 1 }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ [1].count(ns.x) }}",
        DOUBLED % ("[1]", "[ns.x, ns.x]") + "{{ raise_exception(ns.x) }}",
        *(
            DOUBLED % ("(1,)", "(ns.x, ns.x)") + hashed
            for hashed in (
                "{{ {ns.x: 1} }}",
                "{{ {'a': 1}[ns.x] }}",
                "{{ {'a': 1}.get(ns.x) }}",
                "{{ dict([(ns.x, 1)]) }}",
                "{{ namespace([(ns.x, 1)]) }}",
                "{{ [ns.x] | unique | list }}",
                "{{ [ns.x] | groupby(0) }}",
            )
        ),
    ],
)
def test_size_is_bounded(template: str) -> None:
    with pytest.raises(InvalidRequest, match=r"too (large|long)|no number"):
        render(template)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ('a'.encode() * 400000000) | length }}",
        "{{ 'a'.translate({97: 'b'}) }}",
        "{{ x.append }}{{ x.sort() }}",
        "{{ 'a b' | wordwrap(1) }}",
        "{{ [1, 2] | random }}",
        "{{ 'a' | attr('upper') }}",
        "{{ 'a' | pprint }}",
        "{{ 5 .to_bytes(9) }}",
        "{{ 1 is filter }}",
        "{{ [1] | tojson(indent=33) }}",
    ],
)
def test_what_is_not_on_the_list_is_refused(template: str) -> None:
    with pytest.raises((InvalidRequest, ConfigError)):
        render(template, x=[2, 1])


def test_lists_of_the_template_may_grow_and_its_data_may_not() -> None:
    queue = (
        "{% set ns = namespace(q=[]) %}{% for i in 'abc' %}{% set _ = ns.q.append(i) %}{% endfor %}{{ ns.q.pop(0) }}"
    )
    assert render(queue + "{{ ns.q }}") == "a['b', 'c']"
    data = {"x": [{"y": [1]}]}
    for change in ("x.append(1)", "x[0].y.append(1)", "x[0].y.pop()", "x[0].update(z=1)", "x.insert(0, 1)"):
        with pytest.raises(InvalidRequest, match="unsafe"):
            render("{{ " + change + " }}", **data)
    assert data == {"x": [{"y": [1]}]}


@pytest.mark.parametrize("template", ["(" * 500 + "1" + ")" * 500, "[" * 2000 + "]" * 2000])
def test_a_template_nested_too_deep_is_the_models_fault(template: str) -> None:
    with pytest.raises(ConfigError):
        render("{{ " + template + " }}")


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja, "MAX_RENDERED", 1000)
    with pytest.raises(InvalidRequest, match="1000"):
        render("{% for i in range(99999) %}xxxxxxxxxx{% endfor %}")


def test_what_is_no_template_is_the_models_fault() -> None:
    with pytest.raises(ConfigError, match="line 2"):
        render("a\n{% if %}")


def test_variables_may_have_any_name() -> None:
    assert jinja.render("{{ x }}{{ args }}", {"x": 1, "self": 2, "args": 3}) == "13"
