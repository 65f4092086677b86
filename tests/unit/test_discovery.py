"""Formats of calls that no table knows, found from what a template writes around marks."""

from __future__ import annotations

import json

import pytest

from localai_flask.chat.answer import Answer
from localai_flask.chat.constraint import answer_constraint
from localai_flask.chat.discovery import discover, shows_several_calls
from localai_flask.chat.formats import find_format
from localai_flask.chat.output import OutputReader
from localai_flask.generation import Delta, Finished, FinishReason, Usage
from tests.unit.test_callgrammar import ABLE, MUST, SCHEMAS, TOOLS, walk

FRAME = """{% if tools %}Tools: {{ tools | tojson }}
{% endif %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if m.tool_calls %}CALLS{% endif %}<eot>
{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"""
EACH = "{% for c in m.tool_calls %}CALL{% endfor %}"
TEMPLATES = {
    "objects": EACH.replace(
        "CALL", '<act>{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}</act>'
    ),
    "list": '<acts>[{% for c in m.tool_calls %}{"name": "{{ c.function.name }}", "arguments": '
    "{{ c.function.arguments | tojson }}}{% if not loop.last %}, {% endif %}{% endfor %}]</acts>",
    "name and JSON": EACH.replace("CALL", "<run>{{ c.function.name }}<with>{{ c.function.arguments | tojson }}</run>"),
    "tags": EACH.replace(
        "CALL",
        "<do>\n<fn={{ c.function.name }}>\n{% for k, v in c.function.arguments | items %}<arg={{ k }}>{{ v }}</arg>\n"
        "{% endfor %}</fn>\n</do>",
    ),
}


def template(name: str) -> str:
    return FRAME.replace("CALLS", TEMPLATES[name])


def read(text: str, form, functions, size: int) -> Answer:
    reader, answer = OutputReader(form, functions=functions), Answer()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [event for piece in pieces for event in reader.feed(Delta(piece))]
    for event in [*events, *reader.finish(Finished(FinishReason.EOS, Usage(1, 1)))]:
        answer.add(event)
    return answer


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_format_is_found_read_and_enforced(name: str) -> None:
    assert find_format(template(name)) is None
    form = discover(template(name))
    assert form is not None
    constraint = answer_constraint(MUST, ABLE, TOOLS, form)
    assert constraint is not None
    for seed in range(6):
        text = walk(constraint, seed)
        for size in (1, 1000):
            answer = read(text, form, SCHEMAS, size)
            assert answer.tool_calls and not answer.content.strip(), text
            assert all(isinstance(json.loads(call.arguments), dict) for call in answer.tool_calls)


def test_a_template_that_shows_no_tools_has_no_format() -> None:
    assert discover("{% for m in messages %}{{ m.content }}{% endfor %}") is None
    assert discover(FRAME.replace("CALLS", "")) is None


def with_turns(calls: str) -> str:
    return FRAME.replace("CALLS", calls)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        *[(template(name), True) for name in TEMPLATES],
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
