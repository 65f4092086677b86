import datetime

import pytest

from localai_flask.chat import jinja
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


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja, "MAX_RENDERED", 1000)
    with pytest.raises(InvalidRequest, match="1000"):
        render("{% for i in range(99999) %}xxxxxxxxxx{% endfor %}")


def test_what_is_no_template_is_the_models_fault() -> None:
    with pytest.raises(ConfigError, match="line 2"):
        render("a\n{% if %}")


def test_variables_may_have_any_name() -> None:
    assert jinja.render("{{ x }}{{ args }}", {"x": 1, "self": 2, "args": 3}) == "13"
