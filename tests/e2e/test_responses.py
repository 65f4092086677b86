"""Open Responses as users have it: the official client, real sockets, and a scripted model."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.support.processes import wait_for
from tests.support.server import Server

ADD: Any = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


def script(say: str, **how: Any) -> str:
    return json.dumps({"say": say, **how})


def test_text_stream_and_parse(client: openai.OpenAI) -> None:
    assert client.responses.create(model="echo", input="hello").output_text == "hello"
    with client.responses.stream(model="echo", input="hello", store=False) as stream:
        told = list(stream)
        assert stream.get_final_response().output_text == "hello"
    assert [event.sequence_number for event in told] == list(range(len(told)))

    class Verdict(BaseModel):
        true: bool

    parsed = client.responses.parse(model="demo", input="Is that true?", text_format=Verdict, max_output_tokens=60)
    assert isinstance(parsed.output_parsed, Verdict)


def test_tools_and_reasoning(client: openai.OpenAI) -> None:
    said = script(f"<think>\nLet me see.</think>\n\nI add.\n{CALL}")
    with client.responses.stream(model="echo", input=said, tools=[ADD]) as stream:
        for _ in stream:
            pass
        response = stream.get_final_response()
    reasoning, message, call = response.output
    assert reasoning.content[0].text == "Let me see." and message.content[0].text == "I add."
    assert call.name == "add" and json.loads(call.arguments) == {"a": 1}
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "2"}
    again = client.responses.create(model="echo", input=[result], previous_response_id=response.id)
    assert again.output_text == "2"


def test_stored(client: openai.OpenAI) -> None:
    first = client.responses.create(model="echo", input="one")
    second = client.responses.create(model="echo", input="two", previous_response_id=first.id)
    assert client.responses.retrieve(second.id) == second
    assert [item.content[0].text for item in client.responses.input_items.list(second.id)] == ["two"]
    counted = client.responses.input_tokens.count(model="echo", input="three")
    assert counted.input_tokens == 5
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match=first.id):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError, match=first.id):
        client.responses.create(model="echo", input="three", previous_response_id=second.id)


def test_conversation(client: openai.OpenAI) -> None:
    said: Any = [{"type": "message", "role": "user", "content": "zero"}]
    conversation = client.conversations.create(items=said, metadata={"topic": "numbers"})
    assert client.conversations.retrieve(conversation.id) == conversation
    assert client.responses.create(model="echo", input="one", conversation=conversation.id).output_text == "one"
    with client.responses.stream(model="echo", input="two", conversation=conversation.id) as stream:
        list(stream)
    run = client.responses.create(model="echo", input="three", conversation=conversation.id, background=True)
    patient = client.with_options(max_retries=5)  # it asks again for as long as the run holds the conversation
    assert patient.responses.create(model="echo", input="four", conversation=conversation.id).output_text == "four"
    assert client.responses.retrieve(run.id).conversation.id == conversation.id
    listed = client.conversations.items.list(conversation.id, order="asc", limit=4)
    spoken = [item.content[0].text for item in listed]
    assert spoken == ["zero", "one", "one", "two", "two", "three", "three", "four", "four"]
    first = client.conversations.items.retrieve(listed.data[0].id, conversation_id=conversation.id)
    client.conversations.items.delete(first.id, conversation_id=conversation.id)
    added = client.conversations.items.create(conversation.id, items=said)
    newest = next(iter(client.conversations.items.list(conversation.id)))
    assert newest == added.data[0]
    assert client.conversations.update(conversation.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert client.conversations.delete(conversation.id).deleted
    with pytest.raises(openai.NotFoundError, match=conversation.id):
        client.responses.create(model="echo", input="five", conversation=conversation.id)


def test_compact(client: openai.OpenAI) -> None:
    compacted = client.responses.compact(model="echo", input="Hello there.")
    assert [item.type for item in compacted.output] == ["message", "compaction"]
    asked: Any = [*(item.to_dict(warnings=False) for item in compacted.output), {"role": "user", "content": "Go on."}]
    assert client.responses.create(model="echo", input=asked).output_text == "Go on."


def test_a_failure_in_the_stream_raises(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="told the echo backend to fail"):
        list(client.responses.create(model="echo", input=script("abcdef", pace_ms=50, fail_after=3), stream=True))


def test_background(client: openai.OpenAI) -> None:
    response = client.responses.create(model="echo", input=script("done", pace_ms=20), background=True)
    assert response.status == "queued"
    ended = wait_for(lambda: ended_or_none(client, response.id), 30)
    assert ended.status == "completed" and ended.output_text == "done"
    told = list(client.responses.retrieve(response.id, stream=True))
    assert [event.sequence_number for event in told] == list(range(len(told)))
    assert [event.type for event in told[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert told[-1].response == ended
    rest = list(client.responses.retrieve(response.id, stream=True, starting_after=4))
    assert rest == told[5:]
    again = client.responses.create(model="echo", input="more", previous_response_id=response.id)
    assert again.output_text == "more"


def test_background_stream_is_followed_live(client: openai.OpenAI) -> None:
    """What comes within a second cannot have waited for the run's end."""
    stream = client.responses.create(model="echo", input=script("x" * 600, pace_ms=50), background=True, stream=True)
    for event in stream:
        if event.type == "response.created":
            id = event.response.id
        if event.type == "response.output_text.delta":
            break
    stream.close()
    assert client.responses.retrieve(id).status == "in_progress"
    follower = client.responses.retrieve(id, stream=True, starting_after=event.sequence_number)
    assert next(iter(follower)).sequence_number == event.sequence_number + 1
    follower.close()
    assert client.responses.cancel(id).status == "cancelled"


def test_cancel(client: openai.OpenAI) -> None:
    said = script("x" * 600, pace_ms=50)
    response = client.responses.create(model="single", input=said, background=True)
    follower = client.responses.retrieve(response.id, stream=True)
    seen = [next(iter(follower)) for _ in range(8)]
    cancelled = client.responses.cancel(response.id)
    assert cancelled.status == "cancelled" and cancelled.output_text.startswith("x")
    seen += list(follower)
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].type == "response.incomplete" and seen[-1].response.status == "cancelled"
    assert seen[-2].type == "response.output_item.done"
    assert client.responses.cancel(response.id) == cancelled
    # The model has but one slot, which is free again.
    assert client.responses.create(model="single", input="next").output_text == "next"


def test_a_deleted_run_stops(client: openai.OpenAI) -> None:
    response = client.responses.create(model="single", input=script("x" * 600, pace_ms=50), background=True)
    next(iter(client.responses.retrieve(response.id, stream=True)))
    client.responses.delete(response.id)
    assert client.responses.create(model="single", input="next", timeout=20).output_text == "next"


def test_a_background_failure_is_told(client: openai.OpenAI) -> None:
    response = client.responses.create(model="echo", input=script("abcdef", fail_after=3), background=True)
    ended = wait_for(lambda: ended_or_none(client, response.id), 30)
    assert ended.status == "failed" and "told the echo backend to fail" in ended.error.message
    assert ended.output[0].status == "incomplete" and ended.output_text == "abc"


def test_background_runs_wait_for_a_full_model(client: openai.OpenAI, models_path: Path) -> None:
    (models_path / "narrow.yaml").write_text(
        "name: narrow\nbackend: echo\noptions: [scripted]\nlimits: {max_concurrent: 1}\n"
    )
    said = script("in turn", pace_ms=50)
    wait_for(lambda: "narrow" in [model.id for model in client.models.list()], 20)
    ids = [client.responses.create(model="narrow", input=said, background=True).id for _ in range(3)]
    for id in ids:
        assert wait_for(lambda id=id: ended_or_none(client, id), 40).output_text == "in turn"


def ended_or_none(client: openai.OpenAI, id: str) -> Any:
    response = client.responses.retrieve(id)
    return response if response.status not in ("queued", "in_progress") else None


@pytest.fixture
def small_store(models_path: Path, tmp_path: Path) -> Iterator[openai.OpenAI]:
    settings = {"LOCALAI_OPEN_RESPONSES_STORE_TTL": "3s", "LOCALAI_LOAD_TO_MEMORY": "echo"}
    with (
        Server(models_path, tmp_path, **settings) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client


def test_responses_expire(small_store: openai.OpenAI) -> None:
    response = small_store.responses.create(model="echo", input="hello")
    begun = time.monotonic()

    def is_gone() -> bool:
        try:
            small_store.responses.retrieve(response.id)
        except openai.NotFoundError:
            return True
        return False

    wait_for(is_gone, 20)
    assert time.monotonic() - begun > 2
