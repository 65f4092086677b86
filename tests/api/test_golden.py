"""Golden conversations: one scripted output of an engine, and what each API family makes of it, whole and streamed.

`tests/golden/*.yaml` hold what is asked, what the engine says, and every frame that comes out. After a change that is
meant, `LOCALAI_GOLDEN=write pytest tests/api/test_golden.py` writes them anew, to be read in the diff.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from localai_flask.errors import Unavailable
from localai_flask.generation import FinishReason
from tests.api.fakes import FakePool, frames, says

FOLDER = Path(__file__).parent.parent / "golden"
FILES = sorted(FOLDER.glob("*.yaml"))
WRITES = os.environ.get("LOCALAI_GOLDEN") == "write"
CHANGING = re.compile(r"(msg|resp|rs|fc|call|toolu|chatcmpl)(_|-)[0-9a-f]{20,}|fp_[0-9a-f]+|[0-9a-f]{64}")
TIMES = ("created", "created_at", "completed_at", "prompt_ms", "prompt_per_token_ms", "prompt_per_second")
TIMES += ("predicted_ms", "predicted_per_token_ms", "predicted_per_second")
TIMES += ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def openai_request(ask: dict[str, Any]) -> dict[str, Any]:
    body = {key: ask[key] for key in ("max_tokens", "stop", "response_format") if key in ask}
    if "tools" in ask:
        body["tools"] = [{"type": "function", "function": tool} for tool in ask["tools"]]
        body["parallel_tool_calls"] = True
    if ask.get("stream"):
        body["stream_options"] = {"include_usage": True}
    return {**body, "messages": [{"role": "user", "content": ask["user"]}], "stream": ask["stream"]}


def anthropic_request(ask: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = {"max_tokens": ask.get("max_tokens", 100)}
    if "stop" in ask:
        body["stop_sequences"] = ask["stop"]
    if "tools" in ask:
        body["tools"] = [{"name": tool["name"], "input_schema": tool["parameters"]} for tool in ask["tools"]]
        body["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": False}
    return {**body, "messages": [{"role": "user", "content": ask["user"]}], "stream": ask["stream"]}


def responses_request(ask: dict[str, Any]) -> dict[str, Any]:
    body = {"stop": ask["stop"]} if "stop" in ask else {}
    if "max_tokens" in ask:
        body["max_output_tokens"] = ask["max_tokens"]
    if "tools" in ask:
        body["tools"] = [{"type": "function", **tool} for tool in ask["tools"]]
        body["parallel_tool_calls"] = True
    return {**body, "input": ask["user"], "stream": ask["stream"]}


def ollama_request(ask: dict[str, Any]) -> dict[str, Any]:
    options = {"num_predict": ask["max_tokens"]} if "max_tokens" in ask else {}
    options |= {"stop": ask["stop"]} if "stop" in ask else {}
    body: dict[str, Any] = {"options": options}
    if "tools" in ask:
        body["tools"] = [{"type": "function", "function": tool} for tool in ask["tools"]]
        body["parallel_tool_calls"] = True
    return {**body, "messages": [{"role": "user", "content": ask["user"]}], "stream": ask["stream"]}


FAMILIES: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "openai": ("/v1/chat/completions", openai_request),
    "anthropic": ("/v1/messages", anthropic_request),
    "responses": ("/v1/responses", responses_request),
    "ollama": ("/api/chat", ollama_request),
}


def settled(value: Any) -> Any:
    """Replace what is new each time."""
    if isinstance(value, dict):
        return {key: 0 if key in TIMES and each else settled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [settled(each) for each in value]
    return CHANGING.sub(lambda found: f"<{found[1] or 'digest'}>", value) if isinstance(value, str) else value


def read_frame(frame: str) -> Any:
    """One event: its JSON, after its name if it has one."""
    name, data = "", frame
    if frame.startswith("event: "):
        name, _, data = frame.removeprefix("event: ").partition("\n")
    text = data.removeprefix("data: ")
    body = settled(json.loads(text)) if text.startswith("{") else text
    if name:
        assert body["type"] == name, "the event's line and its type differ"
    return body


def run(client: FlaskClient, pool: FakePool, golden: dict[str, Any], family: str, stream: bool) -> Any:
    path, build = FAMILIES[family]
    engine = golden["engine"]
    script = says(*engine["says"], reason=FinishReason(engine.get("ends", "eos")), prompt_tokens=9, cached=4)
    if "fails" in engine:
        script[-1] = Unavailable(engine["fails"])
    pool.scripts = [script]
    response = client.post(path, json=build({**golden["ask"], "stream": stream}), headers={"X-Request-Id": "golden"})
    if not stream or response.mimetype == "application/json":
        return settled(response.get_json())
    if response.mimetype == "application/x-ndjson":
        return [settled(json.loads(line)) for line in response.text.splitlines()]
    return [read_frame(frame) for frame in frames(response.data) if not frame.startswith(":")]


def written(answers: dict[str, Any]) -> str:
    """Write a family's answers with a line of JSON, which is YAML too, for each frame."""
    whole = json.dumps(answers["whole"], ensure_ascii=False)
    streamed = "".join(f"\n  - {json.dumps(frame, ensure_ascii=False)}" for frame in answers["streamed"])
    return f"  whole: {whole}\n  streamed:{streamed}\n"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_conversation(client: FlaskClient, pool: FakePool, file: Path) -> None:
    golden = yaml.safe_load(file.read_text())
    expected = {family: golden.get(family, {}) for family in FAMILIES}
    seen = {
        family: {"whole": run(client, pool, golden, family, False), "streamed": run(client, pool, golden, family, True)}
        for family in FAMILIES
    }
    if WRITES:
        asked = {key: golden[key] for key in ("ask", "engine")}
        text = yaml.safe_dump(asked, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
        file.write_text(text + "".join(f"{family}:\n{written(seen[family])}" for family in FAMILIES))
    else:
        assert seen == expected


def test_ollamas_api_agrees_with_chat_completions() -> None:
    compared = 0
    for golden in (yaml.safe_load(file.read_text()) for file in FILES):
        ours, theirs = (golden[family] for family in ("ollama", "openai"))
        if "error" in ours["whole"]:
            assert ours["whole"]["error"] == theirs["whole"]["error"]["message"]
            continue
        message, usage = theirs["whole"]["choices"][0]["message"], theirs["whole"]["usage"]
        streamed = [line["message"] for line in ours["streamed"]]
        calls = [call for said in streamed for call in said.get("tool_calls", ())]
        compared += 1
        assert ours["whole"]["message"]["content"] == (message["content"] or "")
        assert "".join(said["content"] for said in streamed) == (message["content"] or "")
        assert "".join(said.get("thinking", "") for said in streamed) == message.get("reasoning_content", "")
        assert ours["whole"]["message"].get("tool_calls", []) == calls
        named = [(call["function"]["name"], call["function"]["arguments"]) for call in calls]
        for call, (name, arguments) in zip(message.get("tool_calls", ()), named, strict=True):
            cut = {"INVALID_JSON": call["function"]["arguments"]}
            assert name == call["function"]["name"]
            assert arguments == cut or arguments == json.loads(call["function"]["arguments"])
        for end in (ours["whole"], ours["streamed"][-1]):
            assert end["done"] and end["prompt_eval_count"] == usage["prompt_tokens"]
            assert end["eval_count"] == usage["completion_tokens"]
            assert end["prompt_cached_count"] == usage["prompt_tokens_details"]["cached_tokens"]
            assert (end["done_reason"] == "length") == (theirs["whole"]["choices"][0]["finish_reason"] == "length")
    assert compared >= 12


def test_there_are_conversations() -> None:
    assert len(FILES) >= 12 and not WRITES
