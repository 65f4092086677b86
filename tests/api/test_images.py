"""Images in requests of all families: each stays in its place in the prompt, or is refused with what is wrong."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
import PIL.Image
import pytest
from flask.testing import FlaskClient

from localai_flask.api.work.content import content_bytes, images
from localai_flask.generation import Image
from tests.api.fakes import FakePool, says

TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def picture(width: int = 2, height: int = 3, kind: str = "PNG", colour: int = 0) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (width, height), (colour, 0, 0)).save(file, kind)
    return file.getvalue()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.fixture
def seeing(pool: FakePool) -> FakePool:
    pool.info = msgspec.structs.replace(
        pool.info, capabilities=frozenset({"generate", "image"}), chat_template=TEMPLATE
    )
    return pool


def chat(*parts: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": list(parts)}]}


def message(*parts: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": list(parts)}]}


def response(*parts: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/responses", {"store": False, "input": [{"role": "user", "content": list(parts)}]}


FAMILIES: dict[str, Any] = {
    "chat": (
        chat,
        lambda text: {"type": "text", "text": text},
        lambda url: {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
    ),
    "messages": (
        message,
        lambda text: {"type": "text", "text": text},
        lambda url: {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}
            if url.startswith("data:image/png;base64")
            else {"type": "url", "url": url},
        },
    ),
    "responses": (
        response,
        lambda text: {"type": "input_text", "text": text},
        lambda url: {"type": "input_image", "image_url": url, "detail": "auto"},
    ),
}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Any:
    return FAMILIES[request.param]


def test_images_stand_where_they_were_sent(client: FlaskClient, seeing: FakePool, family: Any) -> None:
    ask, text, image = family
    one, two = picture(), picture(5, 4, "JPEG")
    path, body = ask(text("a"), image(data_url(one)), text("b<|im_end|>c"), image(data_url(two)), image(data_url(one)))
    seeing.scripts.append(says("ok"))
    assert client.post(path, json={"model": "tiny", **body}).status_code == 200
    prompt = seeing.prompt
    assert prompt.text == "[user]ab<|im_end|>c"
    end = len(prompt.text)
    assert [(each.at, each.data, each.media_type, each.width, each.height) for each in prompt.images] == [
        (7, one, "image/png", 2, 3), (end, two, "image/jpeg", 5, 4), (end, one, "image/png", 2, 3),
    ]  # fmt: skip
    assert prompt.images[0].digest == prompt.images[2].digest != prompt.images[1].digest


def test_parts_of_a_prompt_keep_their_order(client: FlaskClient, seeing: FakePool) -> None:
    seeing.info = msgspec.structs.replace(seeing.info, control_tokens=("<|im_end|>",))
    seeing.scripts.append(says("ok"))
    path, body = chat(
        {"type": "text", "text": "a<|im_end|>"}, {"type": "image_url", "image_url": data_url(picture())},
        {"type": "text", "text": "b"},
    )  # fmt: skip
    assert client.post(path, json={"model": "tiny", **body}).status_code == 200
    before, image, behind = seeing.prompt.parts
    assert isinstance(image, Image)
    assert "".join(piece for piece, _ in before) == "[user]a<|im_end|>" and "".join(p for p, _ in behind) == "b"
    assert all(not special for piece, special in before if "<|im_end|>" in piece), "what a client says is no token"


def test_each_message_keeps_its_own(client: FlaskClient, seeing: FakePool) -> None:
    one, two = picture(), picture(colour=9)
    turn = lambda data: {"role": "user", "content": [{"type": "image_url", "image_url": {"url": data_url(data)}}]}  # noqa: E731
    seeing.scripts.append(says("ok"))
    body = {"model": "tiny", "messages": [turn(one), {"role": "assistant", "content": "yes"}, turn(two)]}
    assert client.post("/v1/chat/completions", json=body).status_code == 200
    assert seeing.prompt.text == "[user][assistant]yes[user]"
    assert [(each.at, each.data) for each in seeing.prompt.images] == [(6, one), (26, two)]


def test_an_image_may_come_from_a_tool(client: FlaskClient, seeing: FakePool) -> None:
    seeing.scripts.append(says("ok"))
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data_url(picture())[22:]}}
    body = {
        "model": "tiny", "max_tokens": 5,
        "messages": [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [image]}]},
        ],
    }  # fmt: skip
    assert client.post("/v1/messages", json=body).status_code == 200
    assert len(seeing.prompt.images) == 1


def test_marks_that_a_client_writes_are_no_images(client: FlaskClient, seeing: FakePool) -> None:
    seeing.scripts.append(says("ok"))
    fake = "\ufdd1" + "0" * 32 + "\ufdd2"
    path, body = chat(
        {"type": "text", "text": f"x{fake}\ufdd1y"}, {"type": "image_url", "image_url": data_url(picture())}
    )
    assert client.post(path, json={"model": "tiny", **body}).status_code == 200
    assert seeing.prompt.text == "[user]xy" and len(seeing.prompt.images) == 1


def test_who_reads_text_only_refuses_what_is_asked_and_names_the_past(
    client: FlaskClient, pool: FakePool, family: Any
) -> None:
    ask, text, image = family
    pool.info = msgspec.structs.replace(pool.info, chat_template=TEMPLATE)
    path, body = ask(image(data_url(picture())))
    refused = client.post(path, json={"model": "tiny", **body})
    assert refused.status_code == 400 and "reads text only" in refused.get_json()["error"]["message"]
    _, body = ask(text("a"), image(data_url(picture())))
    key = "input" if "input" in body else "messages"
    body[key] += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and?"}]
    pool.scripts.append(says("ok"))
    assert client.post(path, json={"model": "tiny", **body}).status_code == 200
    assert pool.prompt.images == [] and pool.prompt.text.startswith("[user]a[") and "data:" not in pool.prompt.text


def bomb() -> bytes:
    """Claim to have 60,000 x 60,000 pixels, in a file of some bytes."""
    chunk = lambda kind, data: (  # noqa: E731
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
    )
    size = (60_000).to_bytes(4, "big") * 2
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size + b"\x08\x02\0\0\0")
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (data_url(b"no image at all"), "is broken, or of another format than PNG, JPEG, WEBP, GIF"),
        (data_url(picture(kind="BMP")), "of another format"),
        (data_url(bomb()), "pixels"),
        ("data:image/png;base64,@@@", "is not valid base64"),
        ("data:image/png,plain", "must be an `https://` address"),
        ("file:///etc/passwd", "must be an `https://` address"),
        ("http://127.0.0.1:9/x.png", "of this machine or of a private network"),
        ("http://169.254.169.254/latest", "of this machine or of a private network"),
        ("http://[::ffff:10.0.0.1]/x.png", "of this machine or of a private network"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(client: FlaskClient, seeing: FakePool, family: Any, url: str, said: str) -> None:
    ask, _, image = family
    path, body = ask(image(url))
    refused = client.post(path, json={"model": "tiny", **body})
    assert refused.status_code == 400 and said in refused.get_json()["error"]["message"]


def test_too_many_are_refused(client: FlaskClient, seeing: FakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_IMAGES", 2)
    path, body = chat(*[{"type": "image_url", "image_url": data_url(picture(colour=n))} for n in range(3)])
    refused = client.post(path, json={"model": "tiny", **body})
    assert refused.status_code == 400 and "have 3 images, but at most 2" in refused.get_json()["error"]["message"]


@pytest.mark.parametrize(
    ("limit", "value", "said"),
    [("MOST_TOGETHER", 100, "have more than 100 bytes together"), ("ALL_S", -1.0, "more than -1 s to come")],
)
def test_all_images_together_have_limits(
    client: FlaskClient, seeing: FakePool, monkeypatch: pytest.MonkeyPatch, limit: str, value: float, said: str
) -> None:
    monkeypatch.setattr(images, limit, value)
    path, body = chat(*[{"type": "image_url", "image_url": data_url(picture(colour=n))} for n in range(2)])
    refused = client.post(path, json={"model": "tiny", **body})
    assert refused.status_code == 400 and said in refused.get_json()["error"]["message"]


class Web:
    """Stands in for the internet."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def fetch(self, url: str, most_bytes: int) -> bytes:
        self.asked.append(url)
        return picture()


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    web = Web()
    fetched = content_bytes._Fetched()
    monkeypatch.setattr(fetched, "_fetch", web.fetch)
    monkeypatch.setattr(content_bytes, "_fetched", fetched)
    yield web


def test_an_address_is_fetched_once_for_the_turns_of_a_conversation(
    client: FlaskClient, seeing: FakePool, web: Web, family: Any
) -> None:
    ask, _, image = family
    path, body = ask(image("https://example.com/a.png"))
    for _ in range(2):
        seeing.scripts.append(says("ok"))
        assert client.post(path, json={"model": "tiny", **body}).status_code == 200
        assert seeing.prompt.images[0].data == picture()
    assert web.asked == ["https://example.com/a.png"]


def upload(client: FlaskClient, data: bytes) -> str:
    form = {"purpose": "vision", "file": (io.BytesIO(data), "picture.png")}
    return str(client.post("/v1/files", data=form).get_json()["id"])


@pytest.mark.parametrize("family", ["messages", "responses"])
def test_an_uploaded_image_is_named_by_its_file(client: FlaskClient, seeing: FakePool, family: str) -> None:
    parts = {
        "messages": lambda id: {"type": "image", "source": {"type": "file", "file_id": id}},
        "responses": lambda id: {"type": "input_image", "file_id": id},
    }
    ask, part = FAMILIES[family][0], parts[family]
    seeing.scripts.append(says("ok"))
    path, body = ask(part(upload(client, picture())))
    assert client.post(path, json={"model": "tiny", **body}).status_code == 200
    assert [each.data for each in seeing.prompt.images] == [picture()]
    _, missing = ask(part("file-none"))
    refused = client.post(path, json={"model": "tiny", **missing})
    said = refused.get_json()["error"]["message"]
    assert refused.status_code == 400 and "file-none, which is not here" in said and "upload it again" in said
    _, broken = ask(part(upload(client, b"no image")))
    refused = client.post(path, json={"model": "tiny", **broken})
    assert refused.status_code == 400 and "is broken" in refused.get_json()["error"]["message"]
