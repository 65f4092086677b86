"""Templates that read a message's content as parts only get it so, and lose none of it."""

from __future__ import annotations

import pytest

from localai_flask.chat.conversation import Conversation, Message
from localai_flask.chat.prompt import template_data
from localai_flask.chat.prompt.content_parts import wants_parts

SMOLVLM = (
    "{% for message in messages %}{{ message['role'] | capitalize }}{% if message['content'][0]['type'] == 'image' %}:"
    "{% else %}: {% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
)
EITHER = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}[{{ p.text }}]"
    "{% endfor %}{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        (SMOLVLM, True),
        (EITHER, False),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", False),
        ("{{ raise_exception('never') }}", False),
        ("{% for m in messages %}no words{% endfor %}", False),
        ("{% if", False),
    ],
)
def test_who_wants_parts(template: str, wanted: bool) -> None:
    assert wants_parts(template) is wanted


def test_nothing_is_lost() -> None:
    said = Conversation(messages=(Message(role="system", content="Be brief."), Message(role="user", content="Hello")))
    written = template_data.render(said, SMOLVLM, None, {})
    assert written == "System: Be brief.<end_of_utterance>\nUser: Hello<end_of_utterance>\n"
    assert template_data.render(said, EITHER, None, {}) == "Be brief.Hello"
