"""Three servers that share one PostgreSQL, behind one nginx with `deploy/nginx/several.conf`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support import postgres, processes
from tests.support.nginx import Nginx
from tests.support.processes import wait_for
from tests.support.server import Server, free_port

CHAT = "/v1/chat/completions"
ADDRESSES = ("10.0.0.11:8080", "10.0.0.12:8080", "10.0.0.13:8080")
"""Those that are shipped, in whose places come the servers of the test."""


class Site:
    """Three servers and the way to all of them."""

    def __init__(self, servers: list[Server], port: int):
        self.servers = servers
        self.port = port
        self.clients = [self._client(server.url) for server in servers]
        """One for each server, past nginx."""
        self.front = self._client(f"http://127.0.0.1:{port}")
        """One that nginx sends hither and thither, with whatever session its requests name."""

    @staticmethod
    def _client(url: str) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=30)

    def close(self) -> None:
        for client in (*self.clients, self.front):
            client.close()

    def ask(self, headers: dict[str, str]) -> tuple[int, str]:
        """Ask through nginx; return the status and the server's address, behind those that were tried before it."""
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi"}]})
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("POST", CHAT, body, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers["X-Upstream"]

    def session_of(self, server: Server) -> dict[str, str]:
        """Return headers of a session that nginx sends to a server, which it passes over for a while if that failed."""
        sessions = [{"X-Session-Id": f"find-{number}"} for number in range(200)]

        def find() -> dict[str, str] | None:
            return next((each for each in sessions if self.ask(each)[1].endswith(f":{server.port}")), None)

        return wait_for(find, 60, "nginx asks the server again")


@pytest.fixture(scope="module")
def site(models_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tmp_path = tmp_path_factory.mktemp("site")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres.running())
        servers = []
        for number in range(3):
            scratch = tmp_path / str(number)
            scratch.mkdir()
            server = Server(
                models_path,
                scratch,
                LOCALAI_DATABASE_URL=database,
                LOCALAI_LOAD_TO_MEMORY="echo",
                LOCALAI_WORKERS="1",
                LOCALAI_GRACEFUL_TIMEOUT="8",
            )
            servers.append(stack.enter_context(server))
        port = free_port()
        changes = {
            "several.conf": {old: f"127.0.0.1:{new.port}" for old, new in zip(ADDRESSES, servers, strict=True)},
            "http.conf": {"listen 80": f"listen 127.0.0.1:{port}", "listen [::]:80;": ""},
        }
        include = "include localai-flask/several.conf; include localai-flask/http.conf;"
        blocks = f"add_header X-Upstream $upstream_addr always; {include}"
        stack.enter_context(Nginx(tmp_path / "nginx", blocks, changes, [port]))
        site = Site(servers, port)
        stack.callback(site.close)
        yield site


def test_a_conversation_stays_at_its_server(site: Site) -> None:
    names = ("X-Claude-Code-Session-Id", "Session-Id", "X-Session-Id", "Authorization", "X-Api-Key")
    places: dict[tuple[str, str], str] = {}
    for name in names:
        for value in map(str, range(40)):  # of fewer, one server in three now and then gets none
            status, place = site.ask({name: value})
            assert status == 200
            assert site.ask({name: value, "X-Other": "x"}) == (200, place), "it went elsewhere"
            places[name, value] = place
        assert len({place for (each, _), place in places.items() if each == name}) == 3, f"{name} spreads nothing"
    # A session counts more than a key, which many conversations may have.
    assert site.ask({"Session-Id": "1", "Authorization": "Bearer x"})[1] == places["Session-Id", "1"]


def script(say: str, **how: Any) -> str:
    return json.dumps({"say": say, **how})


def begin(client: openai.OpenAI, how: str, **more: Any) -> str:
    return client.responses.create(model="echo", input=how, background=True, **more).id


def follow(client: openai.OpenAI, id: str, after: int | None = None, **more: Any) -> Iterator[Any]:
    where = {} if after is None else {"starting_after": after}
    return iter(client.responses.retrieve(id, stream=True, **where, **more))


def take_text(events: Iterator[Any], characters: int) -> tuple[str, int]:
    """Read that many characters of a stream, or some more; return them with the number of the last event."""
    text = ""
    for event in events:
        if event.type == "response.output_text.delta":
            text += event.delta
        if len(text) >= characters:
            return text, event.sequence_number
    raise AssertionError(f"the stream has ended with {text!r}")


def test_a_response_is_read_resumed_and_cancelled_at_any_server(site: Site) -> None:
    say = "".join(map(chr, range(ord("!"), ord("~"))))
    for number, own in enumerate(site.clients):
        others = [client for client in site.clients if client is not own]
        run, doomed = begin(own, script(say, pace_ms=30)), begin(own, script("x" * 1000, pace_ms=30))
        text, last = take_text(follow(own, run), 10)
        more, last = take_text(follow(others[0], run, last), 20)
        session = {"X-Session-Id": f"reader-{number}"}
        rest = list(follow(site.front, run, last, extra_headers=session))
        assert [event.sequence_number for event in rest] == list(range(last + 1, last + 1 + len(rest)))
        deltas = [event.delta for event in rest if event.type == "response.output_text.delta"]
        assert text + more + "".join(deltas) == say
        read = [client.responses.retrieve(run) for client in (*site.clients, site.front)]
        assert all(each == read[0] for each in read) and read[0].output_text == say
        take_text(follow(others[1], doomed), 3)
        assert others[0].responses.cancel(doomed).status == "cancelled"
        assert [client.responses.retrieve(doomed).status for client in site.clients] == ["cancelled"] * 3
        whole = others[1].responses.create(model="echo", input=script("on"), previous_response_id=run)
        assert own.responses.retrieve(whole.id).output_text == "on"


def test_a_server_that_stops_is_missed_by_nobody(site: Site) -> None:
    leaving = site.servers[0]
    session = site.session_of(leaving)
    running = site.front.responses.create(
        model="echo", input=script("x" * 60, pace_ms=50), stream=True, extra_headers=session
    )
    events = iter(running)
    text, _ = take_text(events, 3)
    assert leaving.process is not None
    with Asking(site, session) as asking:
        leaving.process.terminate()
        try:
            assert text + take_text(events, 60 - len(text))[0] == "x" * 60
            running.close()
            assert leaving.process.wait(20) == 0
        finally:
            leaving.__enter__()
    assert asking.faults == [] and asking.answered > 20


@contextlib.contextmanager
def killed(server: Server) -> Iterator[None]:
    """Kill all of a server's processes at once, as the loss of its machine would; start it again in the end."""
    assert server.process is not None
    runtime = Path(server.runtime_dir())
    pids = [server.process.pid, *server.web_workers(), *processes.belonging_to(str(runtime))]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    server.process.wait(10)
    wait_for(lambda: not processes.belonging_to(str(runtime)), 10, "all of them are gone")
    try:
        yield
    finally:
        server.__enter__()
        assert not runtime.exists(), "the server that was started again has not swept up"


def test_a_server_is_killed_and_the_others_go_on(site: Site) -> None:
    victim = site.servers[0]
    lost, near, far = site.clients
    at_victim = site.session_of(victim)
    sessions = {str(number): site.ask({"X-Session-Id": str(number)})[1] for number in range(20)}
    told = begin(lost, script("x" * 1000, pace_ms=30))
    untold = begin(lost, script("begun again", prefill_ms=8000))
    elsewhere = begin(near, script("y" * 300, pace_ms=30))
    text, last = take_text(follow(site.front, elsewhere, extra_headers=at_victim), 5)
    take_text(follow(far, told), 5)
    wait_for(lambda: far.responses.retrieve(untold).status == "in_progress", 20)
    with Asking(site, at_victim) as asking, killed(victim):
        # What the victim was reading out is resumed through the same door, without a gap, from the same client.
        rest, last = take_text(follow(site.front, elsewhere, last, extra_headers=at_victim), 300 - len(text))
        assert text + rest == "y" * 300
        doomed = begin(far, script("x" * 1000, pace_ms=30))
        take_text(follow(near, doomed), 3)
        assert near.responses.cancel(doomed).status == "cancelled"
        for number, place in sessions.items():
            status, tried = site.ask({"X-Session-Id": number})
            assert status == 200, tried
            assert tried == place or str(victim.port) in place, "it moved without need"
        failed = wait_for(lambda: ended(site.front, told), 40)
        assert failed.status == "failed" and failed.output_text.startswith("xxxxx")
        assert wait_for(lambda: ended(site.front, untold), 60).output_text == "begun again"
    # The one request that the victim was working on ends with it; nothing else does.
    assert len(asking.faults) <= 1 and asking.answered > 20, asking.faults


class Asking(threading.Thread):
    """Asks through nginx, one request after the other, while its block runs."""

    def __init__(self, site: Site, headers: dict[str, str]):
        super().__init__()
        self.site, self.headers = site, headers
        self.answered = 0
        self.faults: list[tuple[int, str]] = []
        self._stopping = threading.Event()

    def __enter__(self) -> Asking:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join(30)

    def run(self) -> None:
        while not self._stopping.wait(0.05):
            answer = self.site.ask(self.headers)
            if answer[0] == 200:
                self.answered += 1
            else:
                self.faults.append(answer)


def ended(client: openai.OpenAI, id: str) -> Any:
    response = client.responses.retrieve(id)
    return response if response.status not in ("queued", "in_progress") else None
