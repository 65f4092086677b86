"""What is fetched in a thread of its own, and that nothing is left of it when nobody waits for it any more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Generator, Iterator

import pytest

from localai_flask.gallery.transport import aside
from localai_flask.gallery.transport.aside import run_aside
from localai_flask.gallery.transport.bounded_answers import read_bounded
from localai_flask.gallery.transport.remote import open_session
from tests.gallery.test_hostile_servers import Hostile
from tests.support.processes import wait_for

Fetch = Callable[..., Generator[None, None, bytes]]


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and says nothing, not even for TLS."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def fetch() -> Fetch:
    def fetch(url: str, longest_s: float = 60.0) -> Generator[None, None, bytes]:
        def get() -> bytes:
            with open_session(private_addresses=True).get(url, stream=True, timeout=60) as response:
                return read_bounded(response, 1000)

        return run_aside(get, longest_s)

    return fetch


def fetching() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "fetch"]


def test_what_comes_is_returned(fetch: Fetch) -> None:
    with Hostile() as server, pytest.raises(StopIteration) as ended:
        fetched = fetch(f"{server.root}/whole")
        while True:
            next(fetched)
    assert ended.value.value == b"ok"


def test_what_it_raises_is_raised(fetch: Fetch) -> None:
    def fail() -> bytes:
        raise ValueError("as it says")

    with pytest.raises(ValueError, match="as it says"):
        list(run_aside(fail, 9.0))


@pytest.mark.parametrize("path", ["slowly", "headers_slowly"])
def test_closing_ends_a_connection_that_drips(fetch: Fetch, path: str) -> None:
    with Hostile() as server:
        fetched = fetch(f"{server.root}/{path}")
        for _ in range(3):
            next(fetched)
        assert fetching()
        fetched.close()
        wait_for(lambda: not fetching(), 10, "the thread has ended")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closing_ends_a_connection_that_is_silent(fetch: Fetch, silent: str, scheme: str) -> None:
    fetched = fetch(f"{scheme}://{silent}")
    for _ in range(3):
        next(fetched)
    fetched.close()
    wait_for(lambda: not fetching(), 10, "the thread has ended")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_closing_ends_a_connection_to_a_proxy(
    fetch: Fetch, silent: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{silent}")
    monkeypatch.setenv("no_proxy", "")
    fetched = fetch(f"{scheme}://example.com/")
    for _ in range(3):
        next(fetched)
    fetched.close()
    wait_for(lambda: not fetching(), 10, "the thread has ended")


def test_no_more_connections_are_made_for_what_has_ended(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    made, may_go_on, raised = [], threading.Event(), threading.Event()

    def get() -> bytes:
        may_go_on.wait()
        try:
            open_session(private_addresses=True).get(f"{made[0]}/whole", timeout=60)
        except aside.Ended:
            raised.set()
        return b""

    with Hostile() as server:
        made.append(server.root)
        fetched = run_aside(get, 60.0)
        next(fetched)
        fetched.close()
        may_go_on.set()
        assert raised.wait(10) and not server.authorizations


def test_all_of_it_has_a_time(fetch: Fetch, silent: str) -> None:
    with pytest.raises(TimeoutError, match="takes more than 0 s"):
        list(fetch(f"http://{silent}", 0.2))
    wait_for(lambda: not fetching(), 10, "the thread has ended")


def test_a_connection_that_is_made_as_it_ends_is_not_used(silent: str) -> None:
    made = aside.Connections()
    made.end()
    host, _, port = silent.rstrip("/").partition(":")
    with socket.create_connection((host, int(port))) as connection, pytest.raises(aside.Ended):
        made.hold(connection)
