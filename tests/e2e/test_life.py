"""Processes killed for real, clients that leave, and what is left behind: nothing."""

from __future__ import annotations

import contextlib
import errno
import http.client as http_client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import processes
from tests.support.gguf_models import random_llama
from tests.support.processes import stopped, wait_for
from tests.support.server import Server

CHAT = "/v1/chat/completions"
DEMO = Path(__file__).resolve().parents[2] / "models" / "demo.gguf"


def body(say: str, *, model: str = "echo", stream: bool = False, **script: object) -> dict[str, object]:
    content = json.dumps({"say": say, **script})
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": content}]}


FAMILIES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    CHAT: lambda request: request,
    "/v1/messages": lambda request: {**request, "max_tokens": 100},
    "/v1/responses": lambda request: {**request, "messages": None, "input": request["messages"]},
}
"""From a chat request to each API family's own, by their paths."""


def http(request: dict[str, Any], path: str = CHAT) -> bytes:
    """The bytes of a request, for tests that own the socket."""
    data = json.dumps(FAMILIES[path](request)).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


class Stream:
    """A raw streaming request, so that the test owns the socket."""

    def __init__(self, server: Server, say: str, **script: Any):
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        self.socket.sendall(http(body(say, stream=True, **script)))
        self._file = self.socket.makefile("rb")

    def frames(self) -> Iterator[str]:
        """The payload of each `data:` line; raises `StreamError` if the answer is none that streams."""
        for line in self._file:
            if line.startswith(b"HTTP/1.1 ") and b" 200 " not in line:
                raise StreamError(line.decode())
            if line.startswith(b"data: "):
                yield line[6:].decode().strip()

    def content(self) -> Iterator[str]:
        for frame in self.frames():
            if frame == "[DONE]":
                return
            chunk = json.loads(frame)
            if "error" in chunk:
                raise StreamError(chunk["error"])
            for choice in chunk["choices"]:
                if choice["delta"].get("content"):
                    yield choice["delta"]["content"]

    def rest(self) -> bytes:
        """What comes until the server closes the connection."""
        return self._file.read()

    def hang_up(self) -> None:
        self._file.close()
        self.socket.close()


class StreamError(Exception):
    pass


Start = Callable[..., Stream]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start streams that are hung up at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start(server: Server, say: str, **script: object) -> Stream:
            stream = Stream(server, say, **script)
            stack.callback(stream.hang_up)
            return stream

        yield start


def test_a_killed_model_worker_ends_its_stream_and_the_next_request_is_served(own_server: Server, start: Start) -> None:
    stream = start(own_server, "abcdefghij", pace_ms=500)
    content = stream.content()
    assert next(content) == "a"
    (victim,) = own_server.model_workers()
    os.kill(victim, signal.SIGKILL)
    begun = time.monotonic()
    with pytest.raises(StreamError, match="being restarted"):
        list(content)
    assert time.monotonic() - begun < 2
    assert own_server.status("/healthz") == 200
    status, answer = own_server.post(CHAT, body("fresh"))
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "fresh")
    assert processes.state(victim) == "", "the killed worker was not reaped"


def test_a_killed_manager_disturbs_no_stream_and_is_replaced(own_server: Server, start: Start) -> None:
    content = start(own_server, "abcdef", pace_ms=300).content()
    assert next(content) == "a"
    (manager,) = own_server.managers()
    (worker,) = own_server.model_workers()
    os.kill(manager, signal.SIGKILL)
    assert "".join(content) == "bcdef"
    wait_for(lambda: own_server.status("/readyz") == 200, 5, "ready again")
    assert own_server.managers() != [manager]
    assert own_server.post(CHAT, body("on"))[0] == 200
    assert own_server.model_workers() == [worker], "the running worker was not adopted"


def test_killed_web_workers_are_replaced_and_their_requests_cancelled(own_server: Server, start: Start) -> None:
    wait_for(lambda: len(own_server.web_workers()) == 2, 10, "both web workers")
    assert next(start(own_server, "ab", model="single", stall_after=1).content()) == "a"
    for pid in own_server.web_workers():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: own_server.status("/readyz") == 200, 5, "ready again")
    assert own_server.post(CHAT, body("on", model="single"), timeout=5)[0] == 200


def test_a_killed_arbiter_takes_everything_with_it(own_server: Server, start: Start) -> None:
    runtime = own_server.runtime_dir()
    start(own_server, "never", block_after=0)  # the engine thread sits in a call that does not return
    wait_for(lambda: own_server.status("/healthz") == 200, 5)
    assert own_server.process is not None
    own_server.process.kill()
    own_server.process.wait()
    wait_for(lambda: not processes.belonging_to(runtime), 5, "all processes gone")
    wait_for(lambda: not os.path.exists(runtime), 5, "the runtime directory gone")


def test_a_killed_arbiter_leaves_no_client_waiting(own_server: Server, start: Start) -> None:
    streams = [
        start(own_server, "ab", stall_after=1).content(),
        start(own_server, "never", prefill_ms=60_000).content(),
    ]
    assert next(streams[0]) == "a"
    assert own_server.process is not None
    own_server.process.kill()
    begun = time.monotonic()
    for stream in streams:
        with pytest.raises(StreamError):
            list(stream)
    with pytest.raises(OSError):  # refused or reset, and not heard by nobody until the last stream has ended
        while True:
            own_server.post(CHAT, body("late"), timeout=4)
    assert time.monotonic() - begun < 4
    own_server.process.wait()


def test_a_stopping_server_refuses_new_clients_at_once(own_server: Server, start: Start) -> None:
    content = start(own_server, "abcdefghij", pace_ms=300).content()
    assert next(content) == "a"
    assert own_server.process is not None
    own_server.process.terminate()
    begun = time.monotonic()
    with pytest.raises(OSError):
        while True:
            own_server.post(CHAT, body("late"), timeout=4)
    assert time.monotonic() - begun < 2
    assert "".join(content) == "bcdefghij"
    assert own_server.process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_streams_end(own_server: Server, number: int, start: Start) -> None:
    content = start(own_server, "abcde", pace_ms=150).content()
    assert next(content) == "a"
    assert own_server.process is not None
    own_server.process.send_signal(number)
    assert "".join(content) == "bcde"
    assert own_server.process.wait(10) == 0


def test_a_second_ctrl_c_ends_streams_at_once(own_server: Server, start: Start) -> None:
    content = start(own_server, "abcde", pace_ms=1000).content()
    assert next(content) == "a"
    assert own_server.process is not None
    begun = time.monotonic()
    own_server.process.send_signal(signal.SIGINT)
    wait_for(lambda: "Handling signal: int" in own_server.log(), 3)
    own_server.process.send_signal(signal.SIGINT)
    assert own_server.process.wait(10) == 0 and "Quick shutdown requested" in own_server.log()
    assert time.monotonic() - begun < 4.5, "the stream was waited for"
    content.close()


FORKING = """
import os, time
from localai_flask.server.gunicorn_settings import *

def post_fork(server, worker):
    open(os.environ["FORKED"], "a").close()
    time.sleep(1)
"""


@pytest.mark.parametrize(
    "numbers", [[signal.SIGTERM], [signal.SIGINT], [signal.SIGQUIT], [signal.SIGHUP, signal.SIGTERM]]
)
def test_a_signal_finds_a_web_worker_that_is_being_forked(
    models_path: Path, tmp_path: Path, numbers: list[signal.Signals]
) -> None:
    forked, config = tmp_path / "forked", tmp_path / "forking.py"
    config.write_text(FORKING)
    server = Server(models_path, tmp_path, FORKED=str(forked), LOCALAI_GRACEFUL_TIMEOUT="60")
    server.command = [sys.executable, "-m", "gunicorn", "--config", str(config)]
    with server.launched() as process:
        for number in numbers:
            wait_for(forked.exists, 20, "a web worker is being forked")
            forked.unlink()
            process.send_signal(number)
        assert process.wait(30) == 0, server.log()
        assert not processes.belonging_to(str(tmp_path))


def test_a_server_that_drains_refuses_connections_and_serves_those_that_there_are(
    models_path: Path, tmp_path: Path, start: Start
) -> None:
    with Server(models_path, tmp_path, LOCALAI_LOAD_TO_MEMORY="echo", LOCALAI_GRACEFUL_TIMEOUT="20") as server:
        content = start(server, "abcdefghij", pace_ms=600).content()
        assert next(content) == "a"
        assert server.process is not None
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as early:
            server.process.terminate()
            early.sendall(http(body("on")))
            assert early.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")

        def is_refused() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", server.port)) == errno.ECONNREFUSED

        wait_for(is_refused, 4, "connections are refused while the stream goes on, so that a proxy asks elsewhere")
        assert "".join(content) == "bcdefghij"


def test_a_stream_outlasts_the_web_workers_watchdog_and_the_application_may_be_preloaded(
    models_path: Path, tmp_path: Path, start: Start
) -> None:
    arguments = {"LOCALAI_LOAD_TO_MEMORY": "echo", "GUNICORN_CMD_ARGS": "--timeout 2 --preload"}
    with Server(models_path, tmp_path, **arguments) as server:
        before = wait_for(lambda: len(server.web_workers()) == 2 and server.web_workers(), 10)
        assert "".join(start(server, "abcde", pace_ms=900, prefill_ms=2500).content()) == "abcde"
        assert server.web_workers() == before


def test_streams_that_outlast_the_grace_are_told_so(models_path: Path, tmp_path: Path, start: Start) -> None:
    with Server(models_path, tmp_path, LOCALAI_LOAD_TO_MEMORY="echo", LOCALAI_GRACEFUL_TIMEOUT="4") as server:
        contents = [
            start(server, "ab", model="single", stall_after=1).content(),
            start(server, "ab", block_after=1).content(),  # the engine thread sits in a call that does not return
        ]
        assert [next(content) for content in contents] == ["a", "a"]
        assert server.process is not None
        begun = time.monotonic()
        server.process.terminate()
        for content in contents:
            with pytest.raises(StreamError, match="shutting down"):
                list(content)
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 4 + 6


def test_a_load_does_not_hold_up_the_end(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "slow.yaml").write_text("name: slow\nbackend: echo\noptions: ['load_seconds:60']\n")
    with Server(models, tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as asking:
            asking.sendall(http(body("x", model="slow")))
            wait_for(server.model_workers, 5, "the model is loading")
        assert server.process is not None
        begun = time.monotonic()
        server.process.terminate()
        assert server.process.wait(10) == 0
        assert time.monotonic() - begun < 3


def test_a_hang_up_signal_renews_the_web_workers_and_breaks_nothing(
    models_path: Path, tmp_path: Path, start: Start
) -> None:
    # Streams have no time at all when the server stops; a reload ends none.
    with Server(models_path, tmp_path, LOCALAI_LOAD_TO_MEMORY="echo", LOCALAI_GRACEFUL_TIMEOUT="2") as server:
        before = wait_for(lambda: len(server.web_workers()) == 2 and server.web_workers(), 10, "both web workers")
        workers = server.model_workers()
        stream = start(server, "abcdefghij", pace_ms=300)
        content = stream.content()
        assert next(content) == "a"
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        new = wait_for(lambda: len(server.web_workers()) == 4 and set(server.web_workers()) - set(before), 5)
        with stopped(new):
            assert server.status("/healthz") == 200, "nobody serves while the new web workers start"
        assert "".join(content) == "bcdefghij"
        wait_for(lambda: len({*before} & {*server.web_workers()}) == 1, 20, "the one without a connection has left")
        # The connection that is idle now is not closed under a request's feet: it is answered, as the last one.
        stream.socket.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = stream.rest()
        assert b"HTTP/1.1 200 OK" in answer and b"Connection: close" in answer
        wait_for(lambda: set(server.web_workers()) == new, 10, "the old web workers have left")
        assert server.post(CHAT, body("on"))[0] == 200
        assert server.model_workers() == workers


def test_idle_connections_keep_no_worker_through_two_reloads(own_server: Server) -> None:
    assert own_server.process is not None
    with contextlib.closing(http_client.HTTPConnection("127.0.0.1", own_server.port, timeout=20)) as idle:
        before = wait_for(lambda: len(own_server.web_workers()) == 2 and set(own_server.web_workers()), 10)
        idle.request("GET", "/version")
        assert idle.getresponse().read()
        for _ in range(2):
            young = set(own_server.web_workers())
            own_server.process.send_signal(signal.SIGHUP)
            wait_for(lambda young=young: len(set(own_server.web_workers()) - young) == 2, 20, "two new ones")
        wait_for(lambda: not before & set(own_server.web_workers()), 30, "what is idle has been closed")
    assert "Exception in worker process" not in own_server.log(), "a worker leaves by an error, and not by draining"


def test_a_web_worker_is_replaced_while_others_retire(own_server: Server, start: Start) -> None:
    before = wait_for(lambda: len(own_server.web_workers()) == 2 and set(own_server.web_workers()), 10)
    assert next(start(own_server, "ab", stall_after=1).content()) == "a"
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGHUP)
    (busy,) = wait_for(
        lambda: len(before & set(own_server.web_workers())) == 1 and before & set(own_server.web_workers()), 10
    )
    new = set(own_server.web_workers()) - {busy}
    for pid in new:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(set(own_server.web_workers()) - new - {busy}) == 2, 10, "two others")
    assert busy in own_server.web_workers()
    os.kill(busy, signal.SIGKILL)
    wait_for(lambda: busy not in own_server.web_workers(), 5)
    time.sleep(1.5)  # gunicorn looks each second whether there are too many
    assert len(own_server.web_workers()) == 2


def test_a_server_replaces_itself_on_usr2(own_server: Server, tmp_path: Path) -> None:
    old = own_server.process
    assert old is not None
    runtime = own_server.runtime_dir()
    old.send_signal(signal.SIGUSR2)
    found = wait_for(lambda: set(tmp_path.glob("localai-flask-*")) - {Path(runtime)}, 10, "the second server")
    successor = int(found.pop().name.split("-")[2])
    try:
        old.terminate()
        assert old.wait(10) == 0
        assert not processes.belonging_to(runtime)
        wait_for(lambda: own_server.status("/readyz") == 200, 10, "the second server is ready")
        assert own_server.post(CHAT, body("on"))[0] == 200
    finally:
        os.kill(successor, signal.SIGTERM)
        wait_for(lambda: processes.state(successor) in ("", "Z"), 10, "the second server has left")
    wait_for(lambda: not list(tmp_path.glob("localai-flask-*")), 10, "the second server gone")


def test_a_server_that_is_killed_whole_is_swept_at_the_next_start(
    models_path: Path, tmp_path: Path, own_server: Server
) -> None:
    runtime = own_server.runtime_dir()
    assert own_server.process is not None
    # The manager and the model workers first, so that none of them is there to sweep up.
    for pid in [*own_server.managers(), own_server.process.pid, *own_server.model_workers(), *own_server.web_workers()]:
        os.kill(pid, signal.SIGKILL)
    own_server.process.wait()
    wait_for(lambda: not processes.belonging_to(runtime), 5, "all processes gone")
    assert os.path.exists(runtime)
    with Server(models_path, tmp_path):
        assert not os.path.exists(runtime)


def test_an_address_in_use_ends_the_start_and_leaves_nothing(models_path: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = serve(models_path, tmp_path, LOCALAI_ADDRESS=f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 1
    assert "in use" in done.stderr
    assert not list(tmp_path.glob("localai-flask-*"))


def test_a_runtime_folder_that_cannot_be_used_is_named(models_path: Path, tmp_path: Path) -> None:
    done = serve(models_path, tmp_path / "nowhere")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "XDG_RUNTIME_DIR" in done.stderr
    assert "Traceback" not in done.stderr


def serve(models: Path, scratch: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start a server that has to end by itself."""
    environment = {**Server(models, scratch).environment, **environment}
    command = [sys.executable, "-m", "localai_flask", "serve"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30)


def is_served_soon(server: Server) -> bool:
    try:
        return server.post(CHAT, body("x", model="single"), timeout=0.5)[0] == 200
    except TimeoutError:
        return False


def test_a_queued_request_whose_client_has_left_is_never_started(server: Server) -> None:
    wait_for(lambda: server.post(CHAT, body("loaded", model="single"))[0] == 200, 20)
    before = server.model_workers()
    with socket.create_connection(("127.0.0.1", server.port)) as running:
        running.sendall(http(body("abc", model="single", stall_after=1)))
        wait_for(lambda: not is_served_soon(server), 20, "the slot is busy")
        deadly = http(body("x", model="single", crash_after=0))
        with socket.create_connection(("127.0.0.1", server.port)) as waiting:
            waiting.sendall(deadly)
            time.sleep(1)  # it waits for the slot
        time.sleep(2)  # and its client has left for as long as that may take to be noticed
    assert server.post(CHAT, body("x", model="single"))[0] == 200
    assert server.model_workers() == before, "the worker has run what nobody waits for"


STAGES = {"decode": {"stall_after": 1}, "prefill": {"prefill_ms": 60_000}, "queued": {"stall_after": 1}}


@pytest.mark.parametrize("path", list(FAMILIES))
@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("stage", list(STAGES))
def test_a_client_that_hangs_up_frees_its_slot(server: Server, path: str, streaming: bool, stage: str) -> None:
    request = http(body("abc", model="single", stream=streaming, **STAGES[stage]), path)
    sockets = []
    for _ in range(2 if stage == "queued" else 1):
        sockets.append(socket.create_connection(("127.0.0.1", server.port)))
        sockets[-1].sendall(request)
        wait_for(lambda: not is_served_soon(server), 20, "the slot is busy")
    served: list[float] = []

    def next_request() -> None:
        if server.post(CHAT, body("x", model="single"), timeout=20)[0] == 200:
            served.append(time.monotonic())

    thread = threading.Thread(target=next_request)
    thread.start()
    time.sleep(0.5)
    assert not served, "the slot was not busy at all"
    left = time.monotonic()
    for connection in reversed(sockets):
        connection.close()
    thread.join(10)
    assert served, "the slot was never freed"
    assert served[0] - left < 5


def test_probes_answer_while_every_stream_is_busy(models_path: Path, tmp_path: Path, start: Start) -> None:
    with Server(
        models_path,
        tmp_path,
        LOCALAI_LOAD_TO_MEMORY="echo",
        LOCALAI_WORKERS="1",
        LOCALAI_HTTP_THREADS="4",
        LOCALAI_GRACEFUL_TIMEOUT="4",
    ) as server:
        streams = [start(server, "abc", stall_after=1) for _ in range(4)]
        for stream in streams:
            assert next(stream.content()) == "a"
        for path in ("/healthz", "/readyz", "/v1/models"):
            begun = time.monotonic()
            assert server.status(path) == 200
            assert time.monotonic() - begun < 1
        status, answer = server.post(CHAT, body("one more"))
        assert (status, answer["error"]["code"]) == (503, "overloaded")
        for stream in streams:
            stream.hang_up()
        wait_for(lambda: server.post(CHAT, body("free"))[0] == 200, 3, "the threads are free again")


def test_a_yaml_may_be_edited_and_the_edit_undone(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    forms = [f"name: echo\nbackend: echo\ncontext_size: {size}\n" for size in (1000, 2000)]
    with Server(models, tmp_path, LOCALAI_WORKERS="2") as server:
        for turn in range(5):  # each well within the time for which the manager remembers the form before
            (models / "echo.yaml").write_text(forms[turn % 2])
            time.sleep(1.1)  # what each web worker's view of the folder may be old
            for _ in range(4):
                assert server.post(CHAT, body("hello"))[0] == 200
        wait_for(lambda: len(server.model_workers()) == 1, 5, "the workers of other forms gone")
        assert server.log().count("loading model echo") == 5


def test_workers_leave_when_their_model_has_left_the_folder(tmp_path: Path, start: Start) -> None:
    models = tmp_path / "models"
    models.mkdir()
    for name in ("stays", "goes"):
        (models / f"{name}.yaml").write_text(f"name: {name}\nbackend: echo\noptions: [scripted]\n")
    with Server(models, tmp_path, LOCALAI_LOAD_TO_MEMORY="stays") as server:
        before = set(server.model_workers())
        content = start(server, "x" * 40, model="goes", pace_ms=150).content()
        assert next(content) == "x"
        assert len(set(server.model_workers()) - before) == 1
        (models / "goes.yaml").unlink()
        assert "".join(content) == "x" * 39, "what runs is let end"
        wait_for(lambda: set(server.model_workers()) == before, 15, "the worker has left")
        assert server.post(CHAT, {**body("hello"), "model": "goes"})[0] == 404
        assert server.post(CHAT, {**body("hello"), "model": "stays"})[0] == 200
        (models / "goes.yaml").write_text("name: goes\nbackend: echo\n")
        wait_for(lambda: server.post(CHAT, {**body("hello"), "model": "goes"})[0] == 200, 10, "it is back")


def test_a_model_file_that_is_replaced_is_loaded_anew(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    shutil.copy(DEMO, models / "model.gguf")
    asked = {"model": "model.gguf", "prompt": "a", "max_tokens": 4, "temperature": 0}
    with Server(models, tmp_path) as server:

        def answer() -> str | None:
            status, told = server.post("/v1/completions", asked)
            return told["choices"][0]["text"] if status == 200 else None

        first = answer()
        assert first is not None
        (old,) = server.model_workers()
        random_llama(models / "new.part")
        os.replace(models / "new.part", models / "model.gguf")
        wait_for(lambda: answer() not in (None, first), 15, "the new file answers")
        wait_for(lambda: old not in server.model_workers() and len(server.model_workers()) == 1, 15, "the old one left")
