"""`chat`: one question, what begins with `/`, and how answers are shown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from localai_flask.api.openai.schemas import ChatRequest
from localai_flask.cli.chat.answers import Answer
from localai_flask.cli.chat.command import choose_model
from localai_flask.cli.chat.lines import read_text
from localai_flask.cli.chat.session import SETTINGS, Message, Session
from localai_flask.cli.chat.slash import Chat, Leave, run_word
from localai_flask.cli.chat.view import TerminalView
from localai_flask.cli.client.client import Client
from localai_flask.cli.client.shapes import Model, Timings, Usage
from localai_flask.cli.client.target import Target
from localai_flask.cli.exit_codes import CommandFailed
from localai_flask.sampling_params import wanted_fields
from tests.cli.conftest import FakeServer, run


@pytest.fixture
def chat(fake: FakeServer) -> Chat:
    return Chat(Session("small"), Client(Target(fake.url)))


def test_one_question(fake: FakeServer) -> None:
    fake.say("Par", "is.", timings={"predicted_per_second": 12.5})
    result = run("chat", "small", "Capital?", "--system", "Be brief.", "--set", "temperature", "0", "--verbose")
    assert result.stdout == "Paris.\n"
    assert result.stderr.startswith("2 tokens, 12.5 tokens/s, first after ")
    [asked] = fake.chats
    assert asked["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital?"}]
    assert (asked["model"], asked["temperature"], asked["stream"]) == ("small", 0, True)


def test_a_pipe_brings_what_the_question_is_about(fake: FakeServer) -> None:
    fake.say("Yes.")
    run("chat", "small", "Is this so?", stdin="It is.\n")
    run("chat", "small", stdin="Really?\n")
    assert [each["messages"][0]["content"] for each in fake.chats] == ["Is this so?\n\nIt is.", "Really?"]
    assert run("chat", "small").exit_code == 2


def test_thinking_is_no_part_of_an_answer_in_a_pipe(fake: FakeServer) -> None:
    fake.say("Four.")
    fake.answers["POST /v1/chat/completions"][1].insert(0, {"choices": [{"delta": {"reasoning_content": "2+2"}}]})  # type: ignore[index]
    assert run("chat", "small", "2+2?").stdout == "Four.\n"


def test_an_error_in_mid_answer_ends_with_1(fake: FakeServer) -> None:
    fake.answers["POST /v1/chat/completions"] = (
        200,
        [{"choices": [{"delta": {"content": "Par"}}]}, {"error": {"message": "The worker died."}}],
    )
    result = run("chat", "small", "Capital?")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "Par\n", "Error: The worker died.\n")


@pytest.mark.parametrize(
    ("models", "name"),
    [
        ([Model("v", capabilities=["embeddings"]), Model("a", capabilities=["chat"])], "a"),
        ([Model("a", capabilities=["chat"]), Model("b", state="ready", capabilities=["chat"])], "b"),
        ([Model("of-another-server")], "of-another-server"),
    ],
)
def test_without_a_name_one_that_answers_is_chosen(models: list[Model], name: str) -> None:
    assert choose_model(models, None) == choose_model(models, None, "of-no-use") == name
    assert choose_model(models, None, models[0].id) == models[0].id
    assert choose_model(models, "mine", models[0].id) == "mine"


def test_every_setting_is_a_field_of_the_api() -> None:
    assert set(SETTINGS) - set(ChatRequest().fields) == set()
    assert set(wanted_fields()) - set(SETTINGS) == set()


def test_an_unknown_setting_is_refused_with_the_nearest(chat: Chat) -> None:
    with pytest.raises(CommandFailed, match="'temprature'; perhaps temperature is meant"):
        run_word(chat, "/set temprature 1")
    assert "temperature" in run("chat", "small", "x", "--set", "temprature", "1").stderr
    with pytest.raises(CommandFailed, match="there are temperature, "):
        run_word(chat, "/set zzz 1")


def test_settings_are_read_as_json_or_text(chat: Chat) -> None:
    for line in ("/set temperature 0.5", '/set stop ["a b"]', "/set reasoning_effort low", "/set seed 1", "/set seed"):
        run_word(chat, line)
    assert chat.session.settings == {"temperature": 0.5, "stop": ["a b"], "reasoning_effort": "low"}


def test_a_conversation_is_saved_and_loaded(chat: Chat, tmp_path: Path) -> None:
    file = tmp_path / "talk.json"
    for line in ("/system Be brief.", "/set seed 7", "/model warm"):
        run_word(chat, line)
    chat.session.messages.append(Message("user", "Hi"))
    run_word(chat, f"/save {file}")
    assert file.stat().st_mode & 0o777 == 0o600
    other = Chat(Session("small"), chat.client)
    run_word(other, f"/load {file}")
    assert other.session == chat.session
    run_word(other, "/reset")
    assert other.session.messages == [] and other.session.system == "Be brief."


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/nonsense", "/help"),
        ("/model none", "small, vectors, warm"),
        ("/load /nowhere/x", "cannot be read"),
        ("/save /nowhere/x", "cannot be written"),
        ("/save", "Name the file"),
    ],
)
def test_what_cannot_be_done_is_said(chat: Chat, line: str, said: str) -> None:
    with pytest.raises(CommandFailed, match=said):
        run_word(chat, line)


def test_a_file_that_is_no_conversation_is_refused(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff")
    with pytest.raises(CommandFailed, match="is no saved conversation"):
        run_word(chat, f"/load {tmp_path / 'x'}")


def test_bye_leaves(chat: Chat) -> None:
    with pytest.raises(Leave):
        run_word(chat, "/bye")


class Typed:
    def __init__(self, *lines: str):
        self._lines: Iterator[str] = iter(lines)

    def read(self, mark: str) -> str:
        return next(self._lines)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["  hello "], "hello"),
        (['"""one', "", 'two"""'], "one\n\ntwo"),
        (['"""', "  indented", '"""'], "  indented"),
        (['"""at once"""'], "at once"),
    ],
)
def test_texts_of_several_lines(lines: list[str], text: str) -> None:
    assert read_text(Typed(*lines)) == text


def test_rate_without_the_servers_clock() -> None:
    answer = Answer(usage=Usage(completion_tokens=11), first_s=1.0, took_s=3.0)
    assert answer.rate == 5.0
    answer.timings = Timings(predicted_per_second=7.0)
    assert answer.summary == "11 tokens, 7.0 tokens/s, first after 1.00 s"


MARKDOWN = """\
# Heading

A paragraph with **bold** text that is longer than one line of this terminal has room for.

1. one

   continued

2. two

| a | b |
|---|---|
| 1 | 2 |

```python
x = 1
```

Last.
"""


def shown(text: str, size: int = 7, height: int = 25, **more: bool) -> str:
    """Return what a terminal shows at the end of an answer that came in pieces."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=False, width=60, height=height)
    view = TerminalView(console, **more)
    for start in range(0, len(text), size):
        view.say(text[start : start + size])
        view._growing._draw()  # type: ignore[union-attr]
    view.end()
    return screen.getvalue()


def test_markdown_in_pieces_is_as_markdown_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shown(MARKDOWN, len(MARKDOWN))
    assert shown(MARKDOWN, 3) == shown(MARKDOWN, 11) == whole
    assert [line.strip() for line in whole.splitlines() if "Heading" in line] == ["Heading"]
    assert "**" not in whole and "continued" in whole and "x = 1" in whole


def test_a_block_higher_than_the_terminal_is_shown_whole() -> None:
    text = "```\n" + "".join(f"line {number}\n" for number in range(100)) + "```\n"
    lines = shown(text, 40, height=10).split("\n")
    assert [line.strip() for line in lines if line.strip()] == [f"line {number}" for number in range(100)]


def test_plain_text_is_not_drawn_as_markdown() -> None:
    assert "**bold**" in shown("This is **bold**.", is_plain=True)


def test_a_model_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in shown("a\x1b]0;title\x07b\x1b[2Jc\x9b1mD") and "\x9b" not in shown("\x9b1m")


def test_thinking_and_answer_are_apart() -> None:
    screen = io.StringIO()
    view = TerminalView(Console(file=screen, force_terminal=False, width=60))
    view.think("Hm, 2")
    view.think("+2.")
    view.say("Four.")
    view.end()
    assert screen.getvalue() == "Hm, 2+2.\n\nFour.\n"


def test_a_saved_conversation_is_readable_json(tmp_path: Path) -> None:
    Session("m", "s", {"seed": 1}, [Message("user", "ü")]).save(tmp_path / "x")
    assert json.loads((tmp_path / "x").read_text())["messages"] == [{"role": "user", "content": "ü"}]


def test_help_fits_a_terminal(chat: Chat, capsys: pytest.CaptureFixture[str]) -> None:
    run_word(chat, "/help")
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80 and "/system" in lines[0]
