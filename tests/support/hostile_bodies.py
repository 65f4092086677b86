"""Bodies of 15 MB that are made to cost time and memory, and a program that measures what each of them costs.

Run as a module it prints one JSON line for each body: its name, the status, the processor's seconds and the bytes of
memory that the answer took, and the seconds of an ordinary piece of work then, as machines differ and others may use
them. Each is answered in a process of its own, forked from one that has the application ready.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
ANTHROPIC, COUNT, RESPONSES, RERANK = "/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/v1/rerank"
SIZE = 15 * 2**20 - 1000
USER = '{"role":"user","content":"a"}'
CHAT_HEAD = '{"messages":[' + USER + "],"
ANTHROPIC_HEAD = '{"max_tokens":5,"messages":[' + USER + "],"
CALLS = 8000


def filled(before: str, piece: str, after: str, count: int | None = None) -> str:
    """As many of a piece as fit, parted by commas."""
    most = (SIZE - len(before) - len(after)) // (len(piece) + 1)
    return before + ",".join([piece] * (most if count is None else count)) + after


def numbered(before: str, piece: str, after: str, count: int) -> str:
    return before + ",".join(piece.replace("#", str(number)) for number in range(count)) + after


def long(before: str, text: str, after: str) -> str:
    return before + text * ((SIZE - len(before) - len(after)) // len(text)) + after


CALL = '{"id":"c#","type":"function","function":{"name":"f","arguments":"{}"}}'
RESULT = '{"role":"tool","tool_call_id":"c#","content":"x"}'
LEGACY = '{"role":"function","name":"f#","content":"x"}'
NAMED = '{"id":"c#","type":"function","function":{"name":"f#","arguments":"{}"}}'
PART = '{"type":"text","text":"a"}'
TOOL = '{"type":"function","function":{"name":"f#","parameters":{"type":"object"}}}'
USE = '{"type":"tool_use","id":"c#","name":"f","input":{}}'
USE_RESULT = '{"type":"tool_result","tool_use_id":"c#","content":"x"}'
SCHEMA = '"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":'


def chat_calls() -> str:
    calls = numbered('{"messages":[' + USER + ',{"role":"assistant","tool_calls":[', CALL, "]},", CALLS)
    return numbered(calls, RESULT, "]}", CALLS)


def legacy_calls() -> str:
    calls = numbered('{"messages":[' + USER + ',{"role":"assistant","tool_calls":[', NAMED, "]},", CALLS)
    return calls + ",".join(LEGACY.replace("#", str(number)) for number in reversed(range(CALLS))) + "]}"


def anthropic_calls() -> str:
    head = '{"max_tokens":5,"messages":[' + USER + ',{"role":"assistant","content":['
    uses = numbered(head, USE, ']},{"role":"user","content":[', CALLS)
    return filled(numbered(uses, USE_RESULT, "]},", CALLS), USER, "]}", CALLS)


def responses_calls() -> str:
    calls = numbered('{"input":[', '{"type":"function_call","call_id":"c#","name":"f","arguments":"{}"}', ",", CALLS)
    return numbered(calls, '{"type":"function_call_output","call_id":"c#","output":"x"}', "]}", CALLS)


BODIES: dict[str, tuple[str, Callable[[], str | bytes]]] = {
    "halves of surrogate pairs": (CHAT, lambda: long(CHAT_HEAD + '"user":"', "\\ud83d", '"}')),
    "one half behind many escapes": (CHAT, lambda: long(CHAT_HEAD + '"user":"', '\\n\\"', '\\ud83d"}')),
    "one half beside many numbers": (
        CHAT,
        lambda: filled(CHAT_HEAD + '"user":"\\ud83d","a":[', "1.5", "]}", 1_000_000),
    ),
    "one half beside many texts": (CHAT, lambda: filled(CHAT_HEAD + '"user":"\\ud83d","a":[', '"é"', "]}", 490_000)),
    "no half behind many pairs": (CHAT, lambda: long(CHAT_HEAD + '"user":"', "\\ud83d\\ude00", '"')),
    "a bomb": (CHAT, lambda: gzip.compress(b" " * 2**30, 9)),
    "a bomb in parts": (CHAT, lambda: gzip.compress(b"") * (SIZE // len(gzip.compress(b"")))),
    "compressed numbers": (CHAT, lambda: gzip.compress(filled('{"messages":[', "1", "]}").encode(), 1)),
    "numbers for messages": (CHAT, lambda: filled('{"messages":[', "1", "]}")),
    "two million numbers for messages": (CHAT, lambda: filled('{"messages":[', "1", "]}", 2_000_000)),
    "lists for messages": (CHAT, lambda: filled('{"messages":[', "[]", "]}")),
    "texts for messages": (CHAT, lambda: filled('{"messages":[', '"a"', "]}")),
    "objects for messages": (CHAT, lambda: filled('{"messages":[', "{}", "]}")),
    "short messages": (CHAT, lambda: filled('{"messages":[', USER, "]}")),
    "as many messages as are let in": (CHAT, lambda: filled('{"messages":[', USER, "]}", 15_000)),
    "one long message": (CHAT, lambda: long('{"messages":[{"role":"user","content":"', "lorem {ipsum}, ", '"}]}')),
    "one message of escapes": (CHAT, lambda: long('{"messages":[{"role":"user","content":"', '\\n\\"', '"}]}')),
    "content parts": (
        CHAT,
        lambda: filled('{"messages":[{"role":"user","content":[', '{"type":"text","text":"a"}', "]}]}"),
    ),
    "wrong content parts": (CHAT, lambda: filled('{"messages":[{"role":"user","content":[', "1", "]}]}", 2_000_000)),
    "deep lists": (CHAT, lambda: "[" * SIZE),
    "deep objects": (CHAT, lambda: long("", '{"a":', "")),
    "a deep list in a schema": (CHAT, lambda: CHAT_HEAD + '"metadata":{"a":' + "[" * 900 + "]" * 900 + "}}"),
    "unknown keys": (CHAT, lambda: numbered(CHAT_HEAD, '"k#":1', "}", 1_000_000)),
    "the same key": (CHAT, lambda: filled(CHAT_HEAD, '"k":1', "}")),
    "a long number": (CHAT, lambda: long(CHAT_HEAD + '"seed":', "9", "}")),
    "a long fraction": (CHAT, lambda: long(CHAT_HEAD + '"temperature":0.', "1", "}")),
    "white space": (CHAT, lambda: long(CHAT_HEAD, " ", '"n":1}')),
    "half of a list": (CHAT, lambda: filled('{"messages":[', "1", ",", 2_000_000)),
    "no JSON": (CHAT, lambda: long('"', "a", "")),
    "tool calls": (CHAT, chat_calls),
    "legacy results in reverse": (CHAT, legacy_calls),
    "tools": (CHAT, lambda: numbered(CHAT_HEAD + '"tools":[', TOOL, "]}", CALLS)),
    "all tools that fit": (CHAT, lambda: numbered(CHAT_HEAD + '"tools":[', TOOL, "]}", 180_000)),
    "wrong tools": (CHAT, lambda: filled(CHAT_HEAD + '"tools":[', "1", "]}", 2_000_000)),
    "a wide schema": (
        CHAT,
        lambda: numbered(
            CHAT_HEAD + SCHEMA + '{"type":"object","properties":{', '"p#":{"type":"string"}', "}}}}}", 20_000
        ),
    ),
    "a schema of choices": (
        CHAT,
        lambda: filled(CHAT_HEAD + SCHEMA + '{"anyOf":[', "{}", "]}}}}", 20_000),
    ),
    "an enumeration": (CHAT, lambda: numbered(CHAT_HEAD + SCHEMA + '{"enum":[', '"v#"', "]}}}}", 200_000)),
    "choices": (CHAT, lambda: numbered(CHAT_HEAD + '"guided_choice":[', '"v#"', "]}", 400_000)),
    "a long pattern": (CHAT, lambda: long(CHAT_HEAD + '"guided_regex":"', "(a|b)*", '"}')),
    "a long grammar": (CHAT, lambda: long(CHAT_HEAD + '"grammar":"root ::= ', '\\"a\\" | ', '\\"b\\""}')),
    "stops": (CHAT, lambda: filled(CHAT_HEAD + '"stop":[', '"a"', "]}", 400_000)),
    "a long stop": (CHAT, lambda: long(CHAT_HEAD + '"stop":"', "a", '"}')),
    "biases": (CHAT, lambda: numbered(CHAT_HEAD + '"logit_bias":{', '"#":1', "}}", 1_000_000)),
    "as many biases as are let in": (CHAT, lambda: numbered(CHAT_HEAD + '"logit_bias":{', '"#":1', "}}", 400_000)),
    "wrong biases": (CHAT, lambda: numbered(CHAT_HEAD + '"logit_bias":{', '"#":"x"', "}}", 200_000)),
    "breakers": (CHAT, lambda: filled(CHAT_HEAD + '"dry_sequence_breakers":[', '"a"', "]}", 400_000)),
    "prompts": (COMPLETIONS, lambda: filled('{"prompt":[', '"a"', "]}", 400_000)),
    "token ids": (COMPLETIONS, lambda: filled('{"prompt":[', "12345", "]}")),
    "lists of token ids": (COMPLETIONS, lambda: filled('{"prompt":[', "[1,2,3]", "]}")),
    "one long prompt": (COMPLETIONS, lambda: long('{"prompt":"', "lorem {ipsum}, ", '"}')),
    "texts to embed": (EMBEDDINGS, lambda: filled('{"input":[', '"a"', "]}", 400_000)),
    "one long text to embed": (EMBEDDINGS, lambda: long('{"input":"', "lorem ", '"}')),
    "documents": (RERANK, lambda: filled('{"query":"a","documents":[', '"a"', "]}", 400_000)),
    "wrong documents": (RERANK, lambda: filled('{"query":"a","documents":[', "1", "]}", 2_000_000)),
    "short messages of Anthropic's": (ANTHROPIC, lambda: filled('{"max_tokens":5,"messages":[', USER, "]}")),
    "many of Anthropic's messages": (ANTHROPIC, lambda: filled('{"max_tokens":5,"messages":[', USER, "]}", 15_000)),
    "wrong messages of Anthropic's": (ANTHROPIC, lambda: filled('{"max_tokens":5,"messages":[', "1", "]}", 2_000_000)),
    "blocks": (
        ANTHROPIC,
        lambda: filled('{"max_tokens":5,"messages":[{"role":"user","content":[', '{"type":"text","text":"a"}', "]}]}"),
    ),
    "uses of tools": (ANTHROPIC, anthropic_calls),
    "Anthropic's tools": (
        ANTHROPIC,
        lambda: numbered(ANTHROPIC_HEAD + '"tools":[', '{"name":"f#","input_schema":{"type":"object"}}', "]}", CALLS),
    ),
    "stop sequences": (ANTHROPIC, lambda: filled(ANTHROPIC_HEAD + '"stop_sequences":[', '"a"', "]}", 400_000)),
    "messages to count": (COUNT, lambda: filled('{"messages":[', USER, "]}", 15_000)),
    "items": (RESPONSES, lambda: filled('{"input":[', USER, "]}")),
    "as many items as are let in": (RESPONSES, lambda: filled('{"input":[', USER, "]}", 15_000)),
    "wrong items": (RESPONSES, lambda: filled('{"input":[', "1", "]}", 2_000_000)),
    "references": (RESPONSES, lambda: filled('{"input":[', '{"type":"item_reference","id":"a"}', "]}", 20_000)),
    "calls of functions": (RESPONSES, responses_calls),
    "function tools": (
        RESPONSES,
        lambda: numbered(
            '{"input":"a","tools":[', '{"type":"function","name":"f#","parameters":{"type":"object"}}', "]}", CALLS
        ),
    ),
    "metadata": (RESPONSES, lambda: numbered('{"input":"a","metadata":{', '"k#":"v"', "}}", 200_000)),
    "things to include": (RESPONSES, lambda: filled('{"input":"a","include":[', '"a"', "]}", 400_000)),
}


def measure() -> Iterator[dict[str, Any]]:
    """Answer every body, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        client = _ready_client(Path(folder))
        for name, (path, make) in BODIES.items():
            made = make()
            body = made if isinstance(made, bytes) else made.encode()
            assert len(body) <= 15 * 2**20, name
            yield {"name": name, **_measure(client, path, body)}


def _ready_client(folder: Path) -> Any:
    from localai_flask.app import create_app
    from localai_flask.settings import Settings
    from tests.api.fakes import FakePool, says

    (folder / "tiny.yaml").write_text("name: tiny\nbackend: echo\n")
    pool = FakePool()
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain"}))
    pool.scripts = [says("a") for _ in range(2000)]
    app = create_app(Settings(models_path=folder, database_url=f"sqlite:///{folder}/responses.db"), pool=pool)
    client = app.test_client()
    for path in (CHAT, ANTHROPIC, RESPONSES):  # what is imported or compiled at the first request
        client.post(
            path, json={"max_output_tokens": 5, "max_tokens": 5, "messages": [{"role": "user", "content": "a"}]}
        )
    return client


def _measure(client: Any, path: str, body: bytes) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        pace = _measure_ordinary_work()
        before = resource.getrusage(resource.RUSAGE_SELF)
        coding = "gzip" if body.startswith(b"\x1f\x8b") else "identity"
        answer = client.post(path, data=body, headers={"Content-Type": "application/json", "Content-Encoding": coding})
        after = resource.getrusage(resource.RUSAGE_SELF)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        grown = (after.ru_maxrss - before.ru_maxrss) * 1024
        told = {
            "status": answer.status_code,
            "seconds": seconds,
            "pace": pace,
            "bytes": grown,
            "said": answer.get_data()[:300].decode(),
        }
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return dict(json.loads(told)) if told else {"status": 0, "seconds": 0.0, "pace": 0.0, "bytes": 0, "said": "it died"}


def _measure_ordinary_work() -> float:
    text = json.dumps([{"role": "user", "content": "lorem ipsum", "n": number} for number in range(20_000)])
    begun = time.process_time()
    for message in json.loads(text):
        dict(message, content=message["content"].upper())
    return time.process_time() - begun


if __name__ == "__main__":
    for told in measure():
        print(json.dumps(told), file=sys.stdout, flush=True)
