"""No line of the log has a key or a piece of a prompt, whatever becomes of the request, unless the settings say so."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from localai_flask.atomic_file import replace_text
from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.keyring import digest
from tests.support.processes import wait_for
from tests.support.server import Server

PROMPT, KEY, WRONG, NAMED, PASSWORD = "PROMPTMARK", "KEYMARKone", "WRONGMARK", "sk-NAMEDMARK", "PASSWORDMARK"
SECRETS = (KEY, WRONG, NAMED, PASSWORD)
CHAT, MESSAGES, RESPONSES, COMPLETIONS = "/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"
SCRIPTS: list[dict[str, Any]] = [
    {},
    {"fail_after": 2},
    {"raise_after": 2},
    {"on_submit": "raise"},
    {"on_submit": "panic"},
    {"on_submit": "crash"},
    {"kill_after": 2},
]


def bodies(said: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for stream in (False, True):
        messages = [{"role": "user", "content": said}]
        yield CHAT, {"model": "echo", "messages": messages, "stream": stream}
        yield MESSAGES, {"model": "echo", "messages": messages, "max_tokens": 50, "stream": stream}
        yield RESPONSES, {"model": "echo", "input": said, "stream": stream}
        yield COMPLETIONS, {"model": "echo", "prompt": said, "stream": stream}
    yield RESPONSES, {"model": "echo", "input": said, "background": True}
    yield "/v1/embeddings", {"model": "echo", "input": said}
    yield "/v1/tokenize", {"model": "echo", "content": said}
    yield "/v1/rerank", {"model": "echo", "query": said, "documents": [said]}


WRONG_BODIES: list[tuple[str, Any]] = [
    (CHAT, b'{"messages": [{"role": "user", "content": "%s"' % PROMPT.encode()),
    (CHAT, {"model": "echo", "messages": PROMPT}),
    (CHAT, {"model": "echo", "messages": [{"role": PROMPT, "content": PROMPT}]}),
    (CHAT, {"model": "demo", "messages": [{"role": "user", "content": PROMPT}], "grammar": f"root ::= {PROMPT} ("}),
    (CHAT, {"model": "demo", "messages": [{"role": "user", "content": PROMPT}], "guided_regex": f"({PROMPT}"}),
    (CHAT, {"model": "demo", "messages": [{"role": "user", "content": f"{PROMPT} " * 9000}], "stream": True}),
    (MESSAGES, {"model": "echo", "messages": [{"role": "user", "content": [{"type": PROMPT}]}], "max_tokens": 5}),
    (RESPONSES, {"model": "echo", "input": [{"type": "item_reference", "id": PROMPT}]}),
    (RESPONSES, {"model": "echo", "input": PROMPT, "previous_response_id": PROMPT}),
    (f"/v1/models?key={KEY}&prompt={PROMPT}", {}),
]
STRANGE = [
    b"GET /v1/models?key=%(key)s HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer %(key)s\r\n\r\n",
    b"GET /v1/models?key=%(key)s HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: x\r\nx-api-key: %(key)s\x00\r\n\r\n",
    b"%(prompt)s\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nx-api-key: %(key)s\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"%(prompt)s\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: %(prompt)s\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %(prompt)s\r\n\r\n",
    b"GET /v1/models%%0a[ERROR]%%20forged HTTP/1.1\r\nHost: x\r\nx-api-key: %(key)s\r\n\r\n",
]


def make_server(models: Path, scratch: Path, **environment: str) -> Server:
    keys = scratch / "keys.yaml"
    replace_text(keys, key_file.render({"named": Entry(digest(NAMED))}))
    environment |= {"LOCALAI_API_KEY": KEY, "LOCALAI_API_KEYS_FILE": str(keys), "LOCALAI_LOG_LEVEL": "debug"}
    return Server(models, scratch, LOCALAI_LOAD_TO_MEMORY="echo", **environment)


def send(server: Server, data: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        client.sendall(data % {b"key": KEY.encode(), b"prompt": PROMPT.encode()})
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass


def ask(server: Server, path: str, body: Any, key: str) -> int:
    """Send one request, and read its answer to the end, be it a stream or one that breaks off."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(head.encode() + data)
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    return int(answer.split(b" ", 2)[1])


def test_nothing_of_a_request_is_logged(models_path: Path, tmp_path: Path) -> None:
    seen = set()
    with make_server(models_path, tmp_path) as server:
        for script in SCRIPTS:
            said = json.dumps({"say": f"{PROMPT} says", **script})
            for path, body in bodies(said):
                seen.add(ask(server, path, body, NAMED))
                wait_for(lambda: server.status("/readyz") == 200, 30, "the model is back")
                if script.get("on_submit") == "crash" or "kill_after" in script:
                    break  # the next would be refused as its like
        for path, body in WRONG_BODIES:
            seen.add(ask(server, path, body, KEY))
        assert ask(server, CHAT, {}, WRONG) == 401
        for data in STRANGE:
            send(server, data)
    assert {200, 400, 404, 500} <= seen
    log = server.log()
    assert "could not take a request" in log and "RuntimeError: (what it says" in log and "no proper HTTP" in log
    found = [line for line in log.splitlines() if any(mark in line for mark in (PROMPT, *SECRETS))]
    assert found == [] and "\n[ERROR] forged" not in log


BUGS = """
from localai_flask.api.openai import render
from localai_flask.api.responses import stored_runs
def edit(identity, answers, n):
    raise ValueError(f"cannot render {answers}")
def begin_stored_work(claimed, writer, watch):
    raise KeyError(claimed.request)
render.edit, stored_runs.begin_stored_work = edit, begin_stored_work
"""


def test_bugs_of_the_server_itself_tell_nothing_either(models_path: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BUGS)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with make_server(models_path, tmp_path, PYTHONPATH=path) as server:
        edit = {"model": "echo", "input": PROMPT, "instruction": PROMPT}
        assert ask(server, "/v1/edits", edit, KEY) == 500
        assert ask(server, RESPONSES, {"model": "echo", "input": PROMPT, "background": True}, KEY) == 200
        wait_for(lambda: "a background run failed" in server.log(), 20)
    assert "[ERROR] POST /v1/edits" in server.log() and "ValueError: (what it says" in server.log()
    assert "KeyError: (what it says" in server.log()
    assert not any(mark in server.log() for mark in (PROMPT, *SECRETS))


def test_no_password_of_the_database_is_logged(models_path: Path, tmp_path: Path) -> None:
    url = f"postgresql://user:{PASSWORD}@127.0.0.1:1/none"
    server = make_server(models_path, tmp_path, LOCALAI_DATABASE_URL=url)
    server.awaited = "/healthz"
    with server:
        assert ask(server, RESPONSES, {"model": "echo", "input": PROMPT}, KEY) == 503
    assert "does not answer" in server.log() and not any(mark in server.log() for mark in (PROMPT, *SECRETS))


def test_prompts_are_logged_where_the_settings_say_so_and_keys_are_not(models_path: Path, tmp_path: Path) -> None:
    with make_server(models_path, tmp_path, LOCALAI_LOG_PROMPTS="true") as server:
        for path, body in bodies(json.dumps({"say": f"{PROMPT} says", "on_submit": "raise"})):
            ask(server, path, body, NAMED)
    log = server.log()
    assert "RuntimeError: cannot say 'PROMPTMARK says'" in log
    assert log.count("model echo is asked: Prompt(") >= 8 and "model echo is asked: Embed(" in log
    assert not any(mark in log for mark in SECRETS)
