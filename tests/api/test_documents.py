"""Documents in requests of all families, sent by the official clients: they are read, or refused with why."""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import msgspec
import openai
import pytest
from flask import Flask
from flask.testing import FlaskClient

from localai_flask.api.answer import sse
from localai_flask.api.work.content import content_bytes, documents
from localai_flask.atomic_file import replace_text
from localai_flask.background.runner import Runner
from localai_flask.documents.pages import Document
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.keyring import digest
from localai_flask.pool import runtime
from tests.api.document_families import FAMILIES, Chat, Clients, Messages, Responses, open_clients, upload, url_of
from tests.api.fakes import FakePool, says
from tests.support.pdfs import encrypted, pdf

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
PDF, TEXT = pdf("one", "two"), b"a, b\n1, 2\n"
BEHIND_MORE, ABOUT_PDFS = b"\x80 " + PDF, b'if data.startswith(b"%PDF-"):\n'
SHOWN = {PDF: "one\n\ntwo", TEXT: "a, b\n1, 2\n", BEHIND_MORE: "one\n\ntwo", ABOUT_PDFS: ABOUT_PDFS.decode()}
MINE, OTHERS = "mine", "others"


@pytest.fixture
def settings(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file: Path = tmp_path_factory.mktemp("keys") / "keys.yaml"
    replace_text(file, key_file.render({name: Entry(digest(name)) for name in (MINE, OTHERS)}))
    return {**settings, "api_keys_file": str(file), "document_text": 5000, "document_pages": 3}


@pytest.fixture(autouse=True)
def no_texts_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_documents", documents._Kept[Document](documents.MOST_TEXT))


@pytest.fixture
def clients(app: Flask, pool: FakePool) -> Iterator[Clients]:
    pool.info = msgspec.structs.replace(pool.info, chat_template=TEMPLATE)
    with open_clients(app, MINE) as clients:
        yield clients


@pytest.fixture(params=FAMILIES, ids=lambda kind: kind.__name__)
def family(request: pytest.FixtureRequest, clients: Clients) -> Chat:
    made: Chat = request.param(clients)
    return made


def shown(data: bytes, name: str = "a.pdf") -> str:
    return f'<document name="{name}">\n{SHOWN[data]}\n</document>\n'


@pytest.mark.parametrize("data", [*SHOWN], ids=["pdf", "text", "pdf behind more", "text about pdfs"])
def test_the_text_stands_where_the_document_was_sent(pool: FakePool, family: Chat, data: bytes) -> None:
    pool.scripts = [says("ok")]
    family.ask([family.text("x"), family.data(data, "a.pdf"), family.text("y")])
    assert pool.prompt.text == f"[user]x{shown(data)}y"


def test_an_uploaded_one_is_named_by_its_file(pool: FakePool, clients: Clients, family: Chat) -> None:
    pool.scripts = [says("ok"), says("ok")]
    id = upload(clients, PDF)
    family.ask([family.uploaded(id), family.text("y")])
    assert pool.prompt.text == f"[user]{shown(PDF, 'up.pdf')}y"
    clients.openai.files.delete(id)
    with pytest.raises(family.refused, match=rf"A document is the file {id}, which is not here; .* upload it again"):
        family.ask([family.uploaded(id)])


def test_that_of_another_key_is_not_there(pool: FakePool, clients: Clients, family: Chat) -> None:
    """Also once its text is known, under whatever name."""
    other = clients.openai.with_options(api_key=OTHERS)
    id = other.files.create(file=("up.pdf", PDF), purpose="user_data").id
    pool.scripts = [says("ok")]
    content: Any = [{"type": "input_file", "file_id": id, "filename": "mine.pdf"}]
    other.responses.create(model="tiny", input=[{"role": "user", "content": content}])
    assert "one" in pool.prompt.text
    part = family.uploaded(id)
    part.get("file", part)["filename"] = part["title"] = "mine.pdf"
    with pytest.raises(family.refused, match="which is not here"):
        family.ask([part])


@pytest.mark.parametrize("family_type", [Chat, Responses])
def test_a_stream_whose_model_loads_has_the_files_of_its_key_only(
    pool: FakePool, clients: Clients, family_type: type[Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompt is then made when the request's context is gone."""
    monkeypatch.setattr(sse, "PATIENCE_S", 0.0)
    pool.loading, pool.scripts = [0.1, 0.2], [says("ok")]
    family = family_type(clients)
    mine = upload(clients, PDF)
    family.stream([family.uploaded(mine)])
    assert pool.prompt.text == f"[user]{shown(PDF, 'up.pdf')}"
    others = clients.openai.with_options(api_key=OTHERS).files.create(file=("b.pdf", PDF), purpose="user_data").id
    with pytest.raises(openai.APIError, match=f"is the file {others}, which is not here"):
        family.stream([family.uploaded(others)])


def test_an_address_is_fetched(pool: FakePool, family: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, asked = content_bytes._Fetched(), []
    monkeypatch.setattr(fetched, "_fetch", lambda url, most: asked.append(url) or PDF)
    monkeypatch.setattr(content_bytes, "_fetched", fetched)
    for _ in range(2):
        pool.scripts = [says("ok")]
        family.ask([family.at("https://example.com/a.pdf")])
        assert pool.prompt.text == "[user]<document>\none\n\ntwo\n</document>\n"
    assert asked == ["https://example.com/a.pdf"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda family: family.data(encrypted(PDF, "secret"), "a.pdf"), "is an encrypted PDF; save it without"),
        (lambda family: family.data(pdf(*"abcd"), "a.pdf"), "has 4 pages, and at most 3 are read"),
        (
            lambda family: family.data(pdf(""), "a.pdf"),
            "has no text, as of scanned pages, and this model sees no images",
        ),
        (lambda family: family.data(b"a" * 5001, "a.txt"), "has more than 5,000 characters"),
        (lambda family: family.data(b"\x89PNG\0", "a.png"), "'a.png' is neither a PDF nor text"),
        (lambda family: family.at("http://127.0.0.1:9/a.pdf"), "of this machine or of a private network"),
        (lambda family: family.at("http://169.254.169.254/a"), "of this machine or of a private network"),
        (lambda family: family.at("file:///etc/passwd"), "must be an `https://` address"),
        (lambda family: family.uploaded("file-none"), "file-none, which is not here"),
    ],
    ids=["encrypted", "pages", "scanned", "long", "png", "local", "metadata", "file", "none"],
)
def test_what_cannot_be_read_is_refused_with_why(
    family: Chat, make: Callable[[Chat], Any], said: str, pool: FakePool
) -> None:
    with pytest.raises(family.refused, match=said) as refused:
        family.ask([make(family)])
    assert not pool.requests
    if isinstance(refused.value, openai.APIError):
        assert str(refused.value.param).partition("[")[0] == family.field


def test_in_the_past_the_model_is_told_instead(pool: FakePool, family: Chat) -> None:
    pool.scripts = [says("ok")]
    family.ask([family.data(encrypted(PDF, "secret"), "a.pdf"), family.text("y")], "yes", "and?")
    begin, _, rest = pool.prompt.text.partition("[It cannot be read: it is an encrypted PDF;")
    assert begin == '[user]<document name="a.pdf">\n' and rest.endswith("</document>\ny[assistant]yes[user]and?")


def test_a_tool_may_return_one(pool: FakePool, family: Chat) -> None:
    pool.scripts = [says("ok"), says("ok")]
    family.after_a_call(family.data(PDF, "a.pdf"))
    assert f"[tool]{shown(PDF)}" in pool.prompt.text
    family.after_a_call(family.uploaded("file-none"))
    assert "[It cannot be read: it is the file file-none, which is not here;" in pool.prompt.text


def test_its_tokens_are_counted(pool: FakePool, family: Chat) -> None:
    """The pool that stands in for an engine makes a token of each byte."""
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "tokenize"}))
    with_it = family.count([family.data(PDF, "a.pdf"), family.text("y")])
    assert with_it - family.count([family.text("y")]) == len(shown(PDF))


def test_all_documents_together_have_a_limit(family: Chat) -> None:
    parts = [family.data(b"a" * 2000 + bytes([each]), "a.txt") for each in b"bcd"]
    with pytest.raises(family.refused, match="The documents have together more than 5,000 characters"):
        family.ask(parts)


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [
        ("MOST_DOCUMENTS", 1, "have 2 documents, but at most 1"),
        ("MOST_TOGETHER", 20, "have more than 20 bytes together"),
        ("MOST_BYTES", 5, "has 11 bytes, and at most 5 are allowed"),
        ("ALL_S", -1.0, "take more than -1 s to read"),
    ],
)
def test_a_request_has_limits(
    family: Chat, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, said: str
) -> None:
    monkeypatch.setattr(documents, limit, value)
    with pytest.raises(family.refused, match=said):
        family.ask([family.data(TEXT + b"1", "a"), family.data(TEXT + b"2", "b")])


def test_a_pdf_is_read_once_for_the_turns_of_a_conversation(
    pool: FakePool, family: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    read_pages = documents.read_pages
    monkeypatch.setattr(documents, "read_pages", lambda data, *how: read.append(len(data)) or read_pages(data, *how))
    for _ in range(2):
        pool.scripts = [says("ok")]
        family.ask([family.data(PDF, "a.pdf")])
        assert pool.prompt.text == f"[user]{shown(PDF)}"
    assert read == [len(PDF)]


def test_each_key_waits_for_its_own_turn(pool: FakePool, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    callers: list[str] = []
    read_pages = documents.read_pages
    monkeypatch.setattr(documents, "read_pages", lambda *how: callers.append(how[-1]) or read_pages(*how))
    for number, key in enumerate((MINE, OTHERS, MINE)):
        pool.scripts = [says("ok")]
        of_key = Clients(clients.openai.with_options(api_key=key), clients.anthropic)
        Chat(of_key).ask([Chat(of_key).data(pdf(str(number)), "a.pdf")])
    assert callers[0] == callers[2] != callers[1]


def test_a_document_cannot_name_an_image_or_leave_its_tag(pool: FakePool, family: Chat) -> None:
    pool.scripts = [says("ok")]
    family.ask([family.data("a\ufdd1".encode() + b"0" * 32 + "\ufdd2b".encode(), 'x">\n<b')])
    assert pool.prompt.text == f'[user]<document name="x b">\na{"0" * 32}b\n</document>\n'


def test_what_is_kept_has_a_limit() -> None:
    kept = documents._Kept[str](10)
    for name in "abc":
        kept.put((name, 0), name, 5)
    assert [kept.get((name, 0)) for name in "abc"] == [None, "b", "c"]
    kept.get(("b", 0))
    kept.put(("d", 0), "d", 1)
    kept.put(("b", 0), "B", 1)
    assert [kept.get((name, 0)) for name in "bcd"] == ["B", None, "d"], "what was of use last is kept"


class TestFields:
    """What is wrong with a part is said of its field, before a model is asked."""

    @pytest.mark.parametrize(
        ("file", "where"),
        [
            ({}, "file.file_data"),
            ({"file_data": "@@"}, "file.file_data"),
            ({"file_data": url_of(PDF), "file_id": "file-a"}, "file.file_id"),
            ({"file_id": 7}, "file.file_id"),
            ({"file_data": "https://example.com/a.pdf"}, "file.file_data"),
            (None, "file"),
        ],
    )
    def test_chat(self, clients: Clients, client: FlaskClient, file: Any, where: str) -> None:
        body = {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "file", "file": file}]}]}
        refused = client.post("/v1/chat/completions", json=body, headers={"x-api-key": MINE})
        assert refused.status_code == 400
        assert refused.get_json()["error"]["param"] == f"messages[0].content[0].{where}"

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ({"type": "text", "data": 5}, "source.data` must be a string"),
            ({"type": "content", "content": ["x"]}, "source.content[0]` must be an object"),
            (
                {"type": "content", "content": [{"type": "image", "source": {}}]},
                "source.content[0].source.type` must",
            ),
            ({"type": "content"}, "source.content` must be a string or a list"),
            ({"type": "file"}, "source.file_id` must be a string"),
        ],
    )
    def test_anthropic(self, clients: Clients, source: Any, said: str) -> None:
        content: Any = [{"type": "document", "source": source}]
        with pytest.raises(anthropic.BadRequestError, match=re.escape(f"`messages[0].content[0].{said}")):
            clients.anthropic.messages.create(
                model="tiny", max_tokens=9, messages=[{"role": "user", "content": content}]
            )

    def test_base64_needs_no_address_around_it(self, clients: Clients, pool: FakePool) -> None:
        pool.scripts = [says("ok")]
        part: Any = {"type": "input_file", "file_data": base64.b64encode(PDF).decode(), "filename": "a.pdf"}
        clients.openai.responses.create(model="tiny", input=[{"role": "user", "content": [part]}])
        assert pool.prompt.text == f"[user]{shown(PDF)}"

    def test_anthropics_text_and_content(self, clients: Clients, pool: FakePool) -> None:
        pool.scripts = [says("ok")]
        plain = {"type": "text", "media_type": "text/plain", "data": "d"}
        content = {"type": "content", "content": [{"type": "text", "text": "e"}]}
        blocks: Any = [
            {"type": "document", "title": "t", "context": "c", "source": plain},
            {"type": "document", "source": content},
        ]
        clients.anthropic.messages.create(model="tiny", max_tokens=9, messages=[{"role": "user", "content": blocks}])
        one, two = '<document name="t">\nc\nd\n</document>\n', "<document>\ne\n</document>\n"
        assert pool.prompt.text == f"[user]{one}{two}"

    def test_the_system_is_text(self, clients: Clients) -> None:
        block: Any = Messages(clients).data(PDF, "a.pdf")
        with pytest.raises(anthropic.BadRequestError, match="`system` may have text only"):
            clients.anthropic.messages.create(
                model="tiny", max_tokens=9, system=[block], messages=[{"role": "user", "content": "a"}]
            )


def test_a_stored_response_goes_on_with_its_document(pool: FakePool, clients: Clients) -> None:
    pool.scripts = [says("ok"), says("ok")]
    content: Any = [{"type": "input_file", "file_id": upload(clients, PDF)}]
    first = clients.openai.responses.create(model="tiny", input=[{"role": "user", "content": content}])
    clients.openai.responses.create(model="tiny", input="and?", previous_response_id=first.id)
    assert pool.prompt.text == f"[user]{shown(PDF, 'up.pdf')}[assistant]ok[user]and?"
    items = clients.openai.responses.input_items.list(first.id).data
    assert items[0].content[0].type == "input_file"  # type: ignore[union-attr]


def test_a_background_run_has_the_files_of_its_key_only(
    app: Flask, pool: FakePool, clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(runtime.ENV, str(tmp_path))
    mine = upload(clients, PDF)
    others = clients.openai.with_options(api_key=OTHERS).files.create(file=("b.pdf", PDF), purpose="user_data").id
    content: Any = [{"type": "input_file", "file_id": each} for each in (mine, others)]
    turns: Any = Responses(clients).turns(content, "yes", "and?")
    pool.scripts = [says("done")]
    response = clients.openai.responses.create(model="tiny", input=turns, background=True)
    stopping, deadline = threading.Event(), time.monotonic() + 20
    runner = threading.Thread(target=Runner(app, "here").run, args=(stopping, 1.0, lambda: True))
    runner.start()
    try:
        while response.status in ("queued", "in_progress") and time.monotonic() < deadline:
            time.sleep(0.05)
            response = clients.openai.responses.retrieve(response.id)
    finally:
        stopping.set()
        runner.join()
    assert response.output_text == "done"
    assert shown(PDF, "up.pdf") in pool.prompt.text and f"it is the file {others}, which is not" in pool.prompt.text
