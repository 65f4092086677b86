"""Images through the official clients: the three API families read, count and refuse them alike."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import openai
import PIL.Image
import pytest

from tests.e2e.conftest import MODELS
from tests.support.gguf_projectors import seeing_model
from tests.support.pictures import noise
from tests.support.server import Server

SEES, BLIND = "tiny.gguf", "blind.gguf"
Part = str | bytes | tuple[str]
"""Text, an image's file, or its address."""
Turn = tuple[str, Sequence[Part]]
GREEDY = {"temperature": 0}
CALL: dict[str, Any] = {"name": "look", "id": "call_1"}


class Said(NamedTuple):
    text: str
    prompt_tokens: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models: Path = tmp_path_factory.mktemp("models")
    seeing_model(models, "idefics3")
    (models / BLIND).symlink_to(MODELS / "demo.gguf")
    with Server(models, tmp_path_factory.mktemp("server"), LOCALAI_UPLOAD_LIMIT="40") as server:
        yield server


def url_of(part: bytes | tuple[str]) -> str:
    return part[0] if isinstance(part, tuple) else f"data:image/png;base64,{base64.b64encode(part).decode()}"


class Chat:
    """OpenAI's chat completions."""

    refused = openai.BadRequestError

    def __init__(self, server: Server):
        self.client: Any = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)

    def part(self, part: Part) -> Any:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        return {"type": "image_url", "image_url": {"url": url_of(part), "detail": "auto"}}

    def messages(self, turns: Sequence[Turn]) -> Iterator[Any]:
        for role, parts in turns:
            content = [self.part(part) for part in parts]
            if role == "tool":
                call = {"id": CALL["id"], "type": "function", "function": {"name": CALL["name"], "arguments": "{}"}}
                yield {"role": "assistant", "content": "", "tool_calls": [call]}
                yield {"role": "tool", "tool_call_id": CALL["id"], "content": content}
            else:
                yield {"role": role, "content": content}

    def ask(self, turns: Sequence[Turn], model: str = SEES) -> Said:
        made = self.client.chat.completions.create(
            model=model, messages=[*self.messages(turns)], max_tokens=16, temperature=0
        )
        return Said(made.choices[0].message.content, made.usage.prompt_tokens)

    def stream(self, turns: Sequence[Turn]) -> str:
        pieces = self.client.chat.completions.create(
            model=SEES, messages=[*self.messages(turns)], max_tokens=16, temperature=0, stream=True
        )
        return "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)

    def error(self, body: Any) -> dict[str, Any]:
        assert set(body) == {"message", "type", "param", "code"}  # the client takes it out of its frame
        assert body["type"] == "invalid_request_error"
        return dict(body)


class Responses(Chat):
    """Open Responses."""

    def part(self, part: Part, role: str = "user") -> Any:
        if isinstance(part, str):
            return {"type": "output_text" if role == "assistant" else "input_text", "text": part}
        return {"type": "input_image", "image_url": url_of(part), "detail": "auto"}

    def messages(self, turns: Sequence[Turn]) -> Iterator[Any]:
        for role, parts in turns:
            content = [self.part(part, role) for part in parts]
            if role == "tool":
                yield {"type": "function_call", "call_id": CALL["id"], "name": CALL["name"], "arguments": "{}"}
                yield {"type": "function_call_output", "call_id": CALL["id"], "output": content}
            else:
                yield {"role": role, "content": content}

    def ask(self, turns: Sequence[Turn], model: str = SEES) -> Said:
        given = {"model": model, "input": [*self.messages(turns)], "store": False}
        made = self.client.responses.create(max_output_tokens=16, temperature=0, **given)
        return Said(made.output_text, made.usage.input_tokens)

    def stream(self, turns: Sequence[Turn]) -> str:
        given = {"model": SEES, "input": [*self.messages(turns)], "store": False}
        with self.client.responses.stream(max_output_tokens=16, temperature=0, **given) as events:
            return "".join(event.delta for event in events if event.type == "response.output_text.delta")

    def count(self, turns: Sequence[Turn]) -> int:
        return int(self.client.responses.input_tokens.count(model=SEES, input=[*self.messages(turns)]).input_tokens)


class Messages(Chat):
    """Anthropic's Messages."""

    refused = anthropic.BadRequestError  # type: ignore[assignment]

    def __init__(self, server: Server):
        self.client = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)

    def part(self, part: Part) -> Any:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        if isinstance(part, tuple):
            return {"type": "image", "source": {"type": "url", "url": part[0]}}
        data = base64.b64encode(part).decode()
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}

    def messages(self, turns: Sequence[Turn]) -> Iterator[Any]:
        for role, parts in turns:
            content = [self.part(part) for part in parts]
            if role == "tool":
                yield {"role": "assistant", "content": [{"type": "tool_use", "input": {}, **CALL}]}
                result = {"type": "tool_result", "tool_use_id": CALL["id"], "content": content}
                yield {"role": "user", "content": [result]}
            else:
                yield {"role": role, "content": content}

    def ask(self, turns: Sequence[Turn], model: str = SEES) -> Said:
        made = self.client.messages.create(
            model=model, messages=[*self.messages(turns)], max_tokens=16, extra_body=GREEDY
        )
        usage = made.usage
        cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        return Said("".join(block.text for block in made.content), usage.input_tokens + cached)

    def stream(self, turns: Sequence[Turn]) -> str:
        given = {"model": SEES, "messages": [*self.messages(turns)], "max_tokens": 16}
        with self.client.messages.stream(extra_body=GREEDY, **given) as events:
            return "".join(events.text_stream)

    def count(self, turns: Sequence[Turn]) -> int:
        made = self.client.messages.count_tokens(model=SEES, messages=[*self.messages(turns)])
        return int(made.input_tokens)

    def error(self, body: Any) -> dict[str, Any]:
        assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
        return dict(body["error"])


FAMILIES: dict[str, Callable[[Server], Chat]] = {"chat": Chat, "responses": Responses, "messages": Messages}


@pytest.fixture
def families(server: Server) -> Iterator[list[Chat]]:
    made = [family(server) for family in FAMILIES.values()]
    yield made
    for each in made:
        each.client.close()


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, server: Server) -> Iterator[Chat]:
    made = FAMILIES[request.param](server)
    yield made
    made.client.close()


def drawn(kind: str, size: tuple[int, int] = (40, 24)) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", size, "red").save(file, kind)
    return file.getvalue()


ANYWHERE: list[Turn] = [
    ("user", [noise(1), "what is it?"]),
    ("assistant", ["a picture"]),
    ("user", ["and these", noise(2), "or", noise(3)]),
]
OF_A_TOOL: list[Turn] = [("user", ["look there"]), ("tool", [noise(4)]), ("user", ["and now?"])]


@pytest.mark.parametrize("turns", [ANYWHERE, OF_A_TOOL], ids=["anywhere", "of-a-tool"])
def test_families_read_and_count_alike(families: list[Chat], turns: list[Turn]) -> None:
    said = [family.ask(turns) for family in families]
    assert len({*said}) == 1 and said[0].text, said
    assert {family.stream(turns) for family in families} == {said[0].text}
    counts = [family.count(turns) for family in families if isinstance(family, Responses | Messages)]
    assert counts == [said[0].prompt_tokens] * 2
    other = [(role, [noise(9) if isinstance(part, bytes) else part for part in parts]) for role, parts in turns]
    assert families[0].ask(other).text != said[0].text, "what is in an image counts"


REFUSED = {
    "no-image": (b"no image at all", "is broken, or of another format than PNG, JPEG, WEBP, GIF"),
    "bmp": (drawn("BMP"), "of another format"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "of another format"),
    "cut": (noise(6)[:200], "is broken"),
    "thin": (drawn("PNG", (402, 2)), "402 x 2 pixels"),
    "pixels": (drawn("PNG", (8000, 7000)), "56000000|8000 x 7000 pixels"),
    "bytes": (bytes(20 * 2**20 + 1), "has 20971521 bytes, and at most 20971520 are allowed"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_image_is_refused(family: Chat, what: str) -> None:
    data, said = REFUSED[what]
    with pytest.raises(family.refused, match=said) as refused:
        family.ask([("user", [data, "what?"])])
    assert family.error(refused.value.body)


def test_too_many_are_refused(family: Chat) -> None:
    with pytest.raises(family.refused, match="have 65 images, but at most 64 may be sent"):
        family.ask([("user", [drawn("PNG", (2, 2))] * 65)])


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.png", "http://[::1]/a.png", "http://10.1.2.3/a.png"])
def test_private_addresses_are_refused(family: Chat, address: str) -> None:
    with pytest.raises(family.refused, match="address of this machine or of a private network") as refused:
        family.ask([("user", [(address,), "what?"])])
    assert family.error(refused.value.body)


def test_who_reads_text_only_refuses_by_name(family: Chat) -> None:
    with pytest.raises(family.refused, match=r"'blind.gguf' reads text only") as refused:
        family.ask([("user", [noise(7), "what?"])], BLIND)
    assert family.error(refused.value.body)
    assert family.ask([*ANYWHERE, ("assistant", ["yes"]), ("user", ["and?"])], BLIND).text, "the past is named"
