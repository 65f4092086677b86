"""What chat templates show of calls."""

from __future__ import annotations

import pytest

from localai_flask.chat.prompt.shown_calls import shows_several_calls

FRAME = """{% if tools %}Tools: {{ tools | tojson }}
{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if m.tool_calls %}CALLS{% endif %}<eot>
{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"""
EACH = (
    '{% for c in m.tool_calls %}<act>{"name": "{{ c.function.name }}", '
    '"arguments": {{ c.function.arguments | tojson }}}</act>{% endfor %}'
)


def with_turns(calls: str) -> str:
    return FRAME.replace("CALLS", calls)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (with_turns(EACH), True),
        ("{% for m in messages %}{{ m.role }}{{ m.content }}{% endfor %}", False),
        (with_turns("{{ m.tool_calls[0] | tojson }}"), False),
        (with_turns("{% if m.tool_calls | length != 1 %}{{ raise_exception('one at once') }}{% endif %}"), False),
        (FRAME.replace("{% if m.tool_calls %}CALLS{% endif %}", ""), False),
        (
            with_turns(
                "{% if messages[loop.index].role != 'tool' %}{{ raise_exception('results') }}{% endif %}"
                "{{ m.tool_calls | tojson }}"
            ),
            True,
        ),
    ],
)
def test_which_templates_show_several_calls(source: str, expected: bool) -> None:
    assert shows_several_calls(source) is expected
