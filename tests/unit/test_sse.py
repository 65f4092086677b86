"""When a stream or a waiting request must stop: hang-ups and draining, on real sockets."""

import socket
import time
from collections.abc import Iterator

import pytest

from localai_flask.api.answer.sse import EventStream, guarded
from localai_flask.api.work import watch
from localai_flask.api.work.watch import ClientLeft, Watch
from localai_flask.errors import ApiError, InvalidRequest, ServerShuttingDown, Unavailable
from localai_flask.metrics.request_record import RequestRecord


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


@pytest.fixture(autouse=True)
def look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_S", 0.0)
    monkeypatch.setattr(watch, "_drain_deadline", None)


def test_hang_up_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    seen = Watch({"gunicorn.socket": ours, "SERVER_PROTOCOL": "HTTP/1.1"})
    seen.check()
    theirs.sendall(b"the next request, pipelined")
    seen.check()
    assert ours.recv(100) == b"the next request, pipelined"
    theirs.close()
    with pytest.raises(ClientLeft):
        seen.check()


def test_closed_by_ourselves_counts_as_hung_up(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    seen = Watch({"gunicorn.socket": ours, "SERVER_PROTOCOL": "HTTP/1.1"})
    ours.close()
    with pytest.raises(ClientLeft):
        seen.check()


def test_server_without_a_socket_to_look_at() -> None:
    Watch({}).check()


def test_draining() -> None:
    seen = Watch({})
    watch.drain_until(time.monotonic() + 60)
    seen.check()
    watch.drain_until(time.monotonic())
    with pytest.raises(ServerShuttingDown):
        seen.check()


class Items:
    """Work that was recorded."""

    def __init__(self, *items: object):
        self.record = RequestRecord(id="x")
        self.items = iter(items)
        self.closed = False
        self.tells_progress = False

    def __iter__(self) -> Iterator[object]:
        for item in self.items:
            if isinstance(item, Exception):
                raise item
            yield item

    def close(self) -> None:
        self.closed = True


class Words:
    """A dialect that says what it is told."""

    def feed(self, index: int, event: str) -> bytes:
        return event.encode()

    def closing(self) -> bytes:
        return b"end"

    def error(self, error: ApiError) -> bytes:
        return error.info.code.encode()


def told(*items: object) -> tuple[list[bytes], Items]:
    work = Items(*items)
    stream = EventStream(work, Words())  # type: ignore[arg-type]
    frames = list(stream)
    assert all(frames), "an empty frame would end a chunked response"
    return frames, work


def test_a_stream() -> None:
    frames, _ = told(None, (0, ""), (0, "a"), None, (0, "b"))
    assert frames == [b": ping\n\n", b"a", b"b", b"end"]


def test_a_client_that_left_gets_nothing_more() -> None:
    assert told((0, "a"), ClientLeft())[0] == [b"a"]


def test_an_error_closes_the_work_before_it_is_told() -> None:
    work = Items((0, "a"), ServerShuttingDown("x"))
    stream = iter(EventStream(work, Words()))  # type: ignore[arg-type]
    assert next(stream) == b"a" and not work.closed
    assert next(stream) == b"server_shutting_down" and work.closed


def test_an_error_before_the_first_event_is_raised() -> None:
    work = Items(None, ServerShuttingDown("x"))
    with pytest.raises(ServerShuttingDown):
        EventStream(work, Words())  # type: ignore[arg-type]
    assert work.closed


@pytest.mark.parametrize(("broken", "status"), [(RuntimeError("a bug"), 500), (Unavailable("later"), 503)])
def test_a_stream_that_breaks_off_says_so(broken: Exception, status: int) -> None:
    def frames() -> Iterator[bytes]:
        yield b"one"
        raise broken

    ended: list[ApiError] = []

    def end(error: ApiError) -> bytes:
        ended.append(error)
        return b"end"

    assert list(guarded(frames(), end, RequestRecord(id="x"))) == [b"one", b"end"]
    assert [error.info.status for error in ended] == [status]


def test_nobody_is_told_of_the_end_who_has_left() -> None:
    def frames() -> Iterator[bytes]:
        yield b"one"
        raise ClientLeft

    assert list(guarded(frames(), lambda _: b"end", RequestRecord(id="x"))) == [b"one"]


def test_an_error_of_the_clients_is_not_logged_in_its_words(caplog: pytest.LogCaptureFixture) -> None:
    for error in (InvalidRequest("`stop` cannot be 'my prompt'."), Unavailable("The worker is gone.")):
        assert told((0, "a"), error)[0] == [b"a", error.info.code.encode()]
    first, second = (record.getMessage() for record in caplog.records)
    assert "my prompt" not in first and "invalid_request" in first
    assert "The worker is gone." in second
