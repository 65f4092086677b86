"""The page's chat in a real browser, with a real model and with one that says what it is told."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

from localai_flask.gallery import starter
from tests.support.browser import Visitor
from tests.support.chat_page import ChatPage
from tests.support.gguf_projectors import seeing_model
from tests.support.pdfs import pdf
from tests.support.pictures import noise
from tests.support.server import Server

STORY = "Write a long story about a lighthouse."
MARKDOWN = """\
# Head

A **bold** $x^2$ and \\(y\\).

$$\\int_0^1 x\\,dx$$

```python
def f():
    return 1
```

| a | b |
|---|--:|
| 1 | 2 |
"""


@pytest.fixture
def chat(smollm2_server: Server, visitor: Visitor) -> ChatPage:
    """The chat with the real model."""
    return ChatPage(visitor.page).open(smollm2_server.url, starter.NAME)


@pytest.fixture
def told(server: Server, visitor: Visitor) -> ChatPage:
    """The chat with the model that says what it is told."""
    return ChatPage(visitor.page).open(server.url, "echo")


def test_an_answer_is_streamed_and_kept(chat: ChatPage) -> None:
    chat.ask("What is the capital of France?")
    answer = chat.await_answer()
    expect(answer.locator(".answer")).to_have_text("The capital of France is Paris.")
    expect(answer.locator(".figures")).to_contain_text(
        re.compile(r"8 tokens( · [\d.]+ tokens/s)? · first after .* · prompt 28")
    )
    expect(chat.field).to_have_value("")
    chat.page.reload()
    expect(chat.answer.locator(".answer")).to_have_text("The capital of France is Paris.")
    expect(chat.conversations.get_by_role("link")).to_have_text(["What is the capital of France?"])


def test_an_answer_goes_on_after_a_reload_and_leaves_nothing_on_the_server(
    chat: ChatPage, smollm2_server: Server
) -> None:
    chat.page.get_by_role("button", name="Settings of this conversation").click()
    chat.page.get_by_label("Most tokens").fill("90")
    chat.page.keyboard.press("Escape")
    with chat.page.expect_request(lambda request: request.method == "DELETE", timeout=60_000) as deleted:
        chat.ask(STORY)
        expect(chat.answer.locator(".answer")).not_to_be_empty()
        chat.page.reload()
        expect(chat.answer).to_have_attribute("aria-busy", "true")
        answer = chat.await_answer(60_000)
    expect(answer).to_contain_text("the limit of tokens was reached")
    asked = {"model": starter.NAME, "input": STORY, "max_output_tokens": 90, "store": False}
    _, whole = smollm2_server.post("/v1/responses", asked, timeout=60)
    assert chat.text_of(answer) == whole["output"][0]["content"][0]["text"]
    deleted.value.response()
    assert smollm2_server.status(deleted.value.url.removeprefix(smollm2_server.url)) == 404


def test_a_question_that_another_tab_has_in_hand_is_left_to_it(told: ChatPage, visitor: Visitor) -> None:
    held: list[Route] = []
    told.page.route("**/v1/responses", lambda route: held.append(route))
    told.say("word " * 3)
    told.page.wait_for_timeout(500)
    second = ChatPage(visitor.open())
    second.page.goto(told.page.url)
    second.page.wait_for_timeout(2500)
    expect(second.answer).to_have_attribute("aria-busy", "true")
    held[0].continue_()
    for each in (told, second):
        assert each.text_of(each.await_answer()) == "word " * 3
    told.say("more")
    told.page.wait_for_timeout(500)
    told.page.reload()
    expect(told.answer).to_contain_text("The page was left before the server had the question.")


def test_an_answer_is_stopped_and_given_anew(told: ChatPage) -> None:
    told.say("word " * 400, pace_ms=20)
    expect(told.answer.locator(".answer")).to_contain_text("word")
    told.page.keyboard.press("Escape")
    expect(told.await_answer()).to_contain_text("Stopped.")
    assert 0 < len(told.text_of(told.answer)) < 2000
    told.answer.get_by_role("button", name="Answer again").click()
    told.stop_button.click()
    expect(told.await_answer().get_by_role("group", name="Versions")).to_contain_text("2 / 2")


def test_an_answer_is_read_to_its_end_though_the_connection_breaks(own_server: Server, visitor: Visitor) -> None:
    told = ChatPage(visitor.page).open(own_server.url, "echo")
    told.say("steady " * 60, pace_ms=15)
    expect(told.answer.locator(".answer")).to_contain_text("steady")
    with told.page.expect_request("**/v1/responses/*starting_after=*"):
        for pid in own_server.web_workers():
            os.kill(pid, signal.SIGKILL)
    assert told.text_of(told.await_answer()) == "steady " * 60
    expect(told.answer.locator(".figures")).to_contain_text(re.compile(r"420 tokens · [\d.]+ tokens/s"))


def test_a_server_that_is_away_is_named_while_it_is(own_server: Server, visitor: Visitor) -> None:
    told = ChatPage(visitor.page).open(own_server.url, "echo")
    told.say("steady " * 60, pace_ms=15)
    expect(told.answer.locator(".answer")).to_contain_text("steady")
    told.page.route("**/v1/responses/*starting_after=*", lambda route: route.abort())
    for pid in own_server.web_workers():
        os.kill(pid, signal.SIGKILL)
    away = told.page.get_by_text("The server does not answer; trying again")
    expect(away).to_be_visible()
    told.page.unroute_all()
    told.await_answer()
    expect(away).to_be_hidden()


def test_questions_are_edited_and_conversations_branch(told: ChatPage) -> None:
    told.say("one")
    told.await_answer()
    told.say("two")
    told.await_answer()
    told.field.press("ArrowUp")
    editor = told.page.get_by_label("Edit the message")
    editor.fill(json.dumps({"say": "three"}))
    editor.press("Enter")
    expect(told.answer.locator(".answer")).to_have_text("three")
    told.await_answer()
    questions = told.page.locator("article.user")
    questions.last.get_by_role("button", name="Version before").click()
    expect(told.answer.locator(".answer")).to_have_text("two")
    told.answers.first.get_by_role("button", name="Continue in a new conversation").click()
    expect(told.conversations.get_by_role("link")).to_have_count(2)
    expect(told.answers).to_have_count(1)
    expect(told.answer.locator(".answer")).to_have_text("one")


def test_answers_are_held_to_a_form_and_call_tools(chat: ChatPage) -> None:
    chat.page.get_by_role("button", name="Fill in a form").click()
    expect(chat.await_answer().locator(".code-frame")).to_contain_text('"city": "Berlin"')
    chat.page.get_by_role("button", name="New conversation").first.click()
    chat.page.get_by_role("button", name="Settings of this conversation").click()
    panel = chat.page.get_by_role("complementary", name="Settings of this conversation")
    panel.get_by_role("button", name="Insert an example").last.click()
    panel.get_by_label("Calls").select_option("required")
    panel.get_by_label("Most tokens").fill("60")
    chat.ask("What is the weather in Paris?")
    call = chat.await_answer().locator(".call")
    expect(call).to_contain_text("get_weather")
    expect(call.locator("pre")).to_contain_text('"city"')
    panel.get_by_label("Calls").select_option("none")
    call.get_by_label("Result of get_weather").fill("21 degrees, sunny")
    with chat.page.expect_request("**/v1/responses") as sent:
        chat.page.get_by_role("button", name="Send the results").click()
    kinds = [item["type"] for item in sent.value.post_data_json["input"]]
    assert kinds == ["message", "function_call", "function_call_output"]
    chat.await_answer()
    expect(chat.answers).to_have_count(2)


def test_what_cannot_be_read_or_done_is_said_in_words(told: ChatPage) -> None:
    told.page.get_by_role("button", name="Settings of this conversation").click()
    told.page.get_by_label("JSON Schema").fill("{")
    expect(told.page.locator("#setting-schema-hint")).to_contain_text("JSON")
    told.field.fill("hello")
    told.field.press("Enter")
    expect(told.page.locator(".toast")).to_contain_text("cannot be read")
    expect(told.field).to_have_value("hello")
    told.page.get_by_role("button", name="Back to the model's own").click()
    told.say("half", fail_after=2)
    expect(told.await_answer().get_by_role("alert")).to_contain_text("Try again")


def test_thoughts_are_folded(told: ChatPage) -> None:
    told.say("<think>Let me see.</think>It is 4.")
    answer = told.await_answer()
    expect(answer.locator(".answer")).to_have_text("It is 4.")
    expect(answer.get_by_text("Let me see.")).not_to_be_visible()
    answer.get_by_text("Thought").click()
    expect(answer.get_by_text("Let me see.")).to_be_visible()


def test_markdown_code_and_mathematics(told: ChatPage) -> None:
    told.say(MARKDOWN, chunk=7, pace_ms=1)
    answer = told.await_answer()
    expect(answer.get_by_role("heading", name="Head", level=3)).to_be_visible()
    expect(answer.locator("strong")).to_have_text("bold")
    expect(answer.locator(".katex")).to_have_count(3)
    expect(answer.locator(".hljs-keyword").first).to_have_text("def")
    expect(answer.get_by_role("cell", name="2")).to_have_class("align-right")
    answer.get_by_role("button", name="Copy the code").click()
    assert told.page.evaluate("navigator.clipboard.readText()") == "def f():\n    return 1\n"


def test_conversations_are_found_exported_deleted_and_imported(told: ChatPage, tmp_path: Path) -> None:
    told.say("a walrus")
    told.await_answer()
    told.page.keyboard.press("Alt+n")
    told.say("a heron")
    told.await_answer()
    told.page.keyboard.press("Control+k")
    told.page.keyboard.type("WALRUS")
    expect(told.conversations.get_by_role("link")).to_have_count(1)
    told.conversations.get_by_role("link").click()
    told.conversations.get_by_role("button", name="More for").click()
    with told.page.expect_download() as download:
        told.page.get_by_role("menuitem", name="Export").click()
    file = tmp_path / "walrus.json"
    download.value.save_as(file)
    told.conversations.get_by_role("button", name="More for").click()
    told.page.get_by_role("menuitem", name="Delete").click()
    expect(told.conversations.get_by_role("link")).to_have_count(0)
    told.page.get_by_role("button", name="More for all conversations").click()
    with told.page.expect_file_chooser() as chooser:
        told.page.get_by_role("menuitem", name="Import").click()
    chooser.value.set_files(file)
    told.conversations.get_by_role("link").click()
    expect(told.answer.locator(".answer")).to_have_text("a walrus")


def test_images_are_shown_before_they_are_sent(told: ChatPage, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (3000, 10), "red").save(tmp_path / "red.png")
    told.page.get_by_label("Images and documents", exact=True).set_input_files(tmp_path / "red.png")
    expect(told.page.get_by_role("img", name="Image 1")).to_be_visible()
    expect(told.page.get_by_text("echo cannot see images.")).to_be_visible()
    with told.page.expect_request("**/v1/responses") as sent:
        told.ask("What is this?")
    image, text = sent.value.post_data_json["input"][0]["content"]
    assert image["type"] == "input_image" and image["image_url"].startswith("data:image/")
    assert text == {"type": "input_text", "text": "What is this?"}
    expect(told.await_answer().get_by_role("alert")).to_contain_text("image")


def test_a_document_is_read_and_kept(chat: ChatPage, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("fruit,price\napple,3\n")
    (tmp_path / "report.pdf").write_bytes(pdf("The walrus is grey."))
    (tmp_path / "photo.docx").write_bytes(b"PK\x03\x04\x00\xff")
    picker = chat.page.get_by_label("Images and documents", exact=True)
    picker.set_input_files([tmp_path / "prices.csv", tmp_path / "report.pdf", tmp_path / "photo.docx"])
    expect(chat.page.get_by_text("photo.docx is neither text nor a PDF nor an image")).to_be_visible()
    chat.page.get_by_role("button", name="Settings of this conversation").click()
    chat.page.get_by_label("Most tokens").fill("8")
    chat.page.keyboard.press("Escape")
    with chat.page.expect_request("**/v1/responses") as sent:
        chat.ask("What is the price?")
    *documents, text = sent.value.post_data_json["input"][0]["content"]
    assert [each["filename"] for each in documents] == ["prices.csv", "report.pdf"]
    assert text["text"] == "What is the price?"
    assert prompt_of(chat) > 60, "the documents are not in the prompt"
    expect(chat.answer.get_by_role("alert")).to_have_count(0)
    expect(chat.page.get_by_role("article", name="You").get_by_title("report.pdf")).to_be_visible()
    with chat.page.expect_request("**/v1/responses") as sent:
        chat.ask("And now?")
    assert len(sent.value.post_data_json["input"][0]["content"]) == 3, "a later turn has lost the documents"


def test_what_is_dropped_is_taken_or_refused_in_words(told: ChatPage) -> None:
    drop = """(files) => {
        const dropped = new DataTransfer();
        for (const [name, content] of files) dropped.items.add(new File([Uint8Array.from(content)], name));
        document.querySelector("textarea").dispatchEvent(new DragEvent("drop", {dataTransfer: dropped, bubbles: true}));
    }"""
    told.page.evaluate(drop, [["notes.txt", list(b"Bring milk.")], ["empty.txt", []]])
    expect(told.page.get_by_text("empty.txt is empty.")).to_be_visible()
    expect(told.page.get_by_title("notes.txt", exact=True)).to_be_visible()
    told.page.get_by_role("button", name="Remove notes.txt").click()
    expect(told.page.get_by_title("notes.txt", exact=True)).to_have_count(0)
    expect(told.page.get_by_role("button", name="Send", exact=True)).to_be_disabled()


def test_documents_of_an_imported_conversation_are_kept(told: ChatPage) -> None:
    good = {"name": "a.txt", "data": "data:text/plain;base64,QQ=="}
    bad = {"name": "b.txt", "data": "javascript:alert(1)"}
    told.add_conversation("Letters", ["Read these.", "Yes."], files=[good, bad])
    expect(told.page.get_by_title("a.txt")).to_be_visible()
    expect(told.page.get_by_title("b.txt")).to_have_count(0)


def test_an_image_is_seen_by_a_model_that_sees(visitor: Visitor, tmp_path_factory: pytest.TempPathFactory) -> None:
    models: Path = tmp_path_factory.mktemp("models")
    seeing_model(models, "idefics3")
    (models / "red.png").write_bytes(noise(1))
    with Server(models, tmp_path_factory.mktemp("server")) as server:
        chat = ChatPage(visitor.page).open(server.url, "tiny.gguf")
        chat.page.get_by_role("button", name="Settings of this conversation").click()
        chat.page.get_by_label("Most tokens").fill("8")
        chat.page.keyboard.press("Escape")
        chat.ask("What is this?")
        blind = prompt_of(chat)
        chat.page.get_by_label("Images and documents", exact=True).set_input_files(models / "red.png")
        expect(chat.page.get_by_text("cannot see images")).to_have_count(0)
        chat.ask("And this?")
        expect(chat.answers).to_have_count(2)
        assert prompt_of(chat) > blind + 60, "the image is not in the prompt"
        expect(chat.answer.get_by_role("alert")).to_have_count(0)


def prompt_of(chat: ChatPage) -> int:
    """Wait for an answer, and return how many tokens its prompt had as the page shows it."""
    expect(chat.await_answer().locator(".figures")).to_contain_text("prompt")
    found = re.search(r"prompt ([\d,]+)", chat.answer.locator(".figures").inner_text())
    assert found is not None
    return int(found[1].replace(",", ""))
