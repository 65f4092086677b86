"""The store on SQLite and on PostgreSQL: chains, what is forgotten, and runs under leases."""

import gc
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localai_flask.errors import ConfigError, InvalidRequest, Overloaded, TooManyRequests, Unavailable
from localai_flask.settings import Settings
from localai_flask.store import database
from localai_flask.store import probe as probe_module
from localai_flask.store.kept import Kept
from localai_flask.store.opened import Store
from localai_flask.store.probe import Probe
from localai_flask.store.responses import responses as stored_responses
from localai_flask.store.responses import runs as stored_runs
from localai_flask.store.responses.responses import ResponseNotFound, Stored
from localai_flask.store.responses.retention import forget_old
from localai_flask.store.responses.runs import Batch, StoredEvent
from tests.support import postgres, processes


def opened(url: str, **settings: Any) -> Store:
    return Store.open(Settings(database_url=url, **settings))


def item(id: str) -> Kept:
    return Kept(id, id.encode())


def response(id: str, status: str = "completed", size: int = 10, background: bool = False) -> Stored:
    return Stored(id, status, background, b"x" * size, [item(f"{id}-out")])


def put(store: Store, *ids: str, size: int = 10) -> None:
    """Keep a chain of responses."""
    previous = None
    for id in ids:
        store.responses.put(response(id, size=size), [item(f"{id}-in")], previous)
        previous = id


def queue(store: Store, id: str, home: str = "here", keeper: str = "", most: int = 0) -> None:
    queued = Stored(id, "queued", True, b"{}", [])
    store.runs.queue(queued, [], None, b"{}", home, [StoredEvent(0, "created", b"0", False)], keeper, most)


def forgotten(store: Store, **settings: Any) -> int:
    """Return how much is forgotten under these settings."""
    return sum(forget_old(store.database, Settings(**settings)))


def is_there(store: Store, id: str) -> bool:
    try:
        return store.responses.exists(id)
    except Unavailable:
        return False


def age(store: Store, id: str, by_s: float) -> None:
    table = stored_responses.responses
    with store.database.writing() as connection:
        older = {"used_at": table.c.used_at - by_s, "created_at": table.c.created_at - by_s}
        connection.execute(table.update().where(table.c.id == id).values(**older))


def test_a_response_and_its_items_are_their_keepers(store: Store) -> None:
    ours, theirs = store.responses.kept_by("us"), store.responses.kept_by("them")
    put(store, "open")
    ours.put(response("first"), [item("guessable")], None)
    ours.put(response("second"), [], "first")
    theirs.put(response("fork"), [], "first")
    assert ours.get("first").id == "first" and len(ours.chain("second")) == 3
    for ask in (theirs.get, theirs.inputs, theirs.delete, theirs.chain, store.responses.kept_by("").get):
        with pytest.raises(ResponseNotFound):
            ask("first")
    assert theirs.find_items(["guessable", "first-out"]) == {} and not theirs.exists("first")
    with pytest.raises(ResponseNotFound, match="response first"):
        theirs.chain("fork")
    assert theirs.get("open").id == "open" and store.responses.get("first").id == "first"


def test_tables_of_an_older_version_get_the_columns_they_lack(store: Store, url: str) -> None:
    put(store, "old")
    with store.database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE responses DROP COLUMN keeper")
    again = opened(url)
    assert again.responses.kept_by("us").get("old").id == "old"
    again.responses.kept_by("us").put(response("new"), [], "old")
    again.database.close()


def test_a_file_that_is_taken_away_or_replaced_is_noticed(tmp_path: Path) -> None:
    """What is written to a file without a name is lost, and whoever opens the name anew never sees it."""
    path = tmp_path / "responses.db"
    url = f"sqlite:///{path}"
    one, other = opened(url), opened(url)
    put(one, "lost")
    for file in tmp_path.glob("responses.db*"):
        file.unlink()
    assert not one.responses.exists("lost")
    put(one, "kept")
    assert other.responses.get("kept").id == "kept"
    for store in (one, other):
        store.database.close()
    path.rename(tmp_path / "older.db")
    put(other, "meanwhile")
    other.database.close()
    (tmp_path / "older.db").replace(path)
    assert other.responses.exists("kept") and not other.responses.exists("meanwhile")
    other.database.close()


def test_a_chain_is_given_oldest_first(store: Store) -> None:
    put(store, "a", "b", "c")
    assert store.responses.chain("c") == [b"a-in", b"a-out", b"b-in", b"b-out", b"c-in", b"c-out"]
    assert store.responses.find_items(["b-out", "none", "a-in"]) == {"b-out": b"b-out", "a-in": b"a-in"}
    store.responses.delete("b")
    assert store.responses.find_items(["b-out"]) == {}
    with pytest.raises(ResponseNotFound, match="response b"):
        store.responses.chain("c")
    queue(store, "d")
    with pytest.raises(InvalidRequest, match="has not ended"):
        store.responses.chain("d")


def test_unused_responses_expire_and_chains_stay(store: Store, url: str) -> None:
    put(store, "a", "b")
    put(store, "other")
    brief = opened(url, open_responses_store_ttl=60.0)
    for id in ("a", "b", "other"):
        age(store, id, 50)
    brief.responses.chain("b")
    for id in ("a", "b", "other"):
        age(store, id, 20)
    with pytest.raises(ResponseNotFound):
        brief.responses.get("other")
    assert store.responses.get("other").id == "other"
    assert forgotten(brief, open_responses_store_ttl=60.0) == 1
    with pytest.raises(ResponseNotFound):
        store.responses.get("other")
    assert len(brief.responses.chain("b")) == 4
    brief.database.close()


def test_a_run_does_not_expire(store: Store, url: str) -> None:
    queue(store, "r")
    age(store, "r", 100)
    brief = opened(url, open_responses_store_ttl=60.0)
    assert forgotten(brief, open_responses_store_ttl=60.0) == 0 and brief.responses.get("r").status == "queued"
    brief.database.close()


def test_the_longest_unused_make_room(store: Store) -> None:
    put(store, "old", "middle", "new", size=600_000)
    age(store, "middle", 20)
    age(store, "old", 10)
    assert forgotten(store, open_responses_store_size=1) == 2 and forgotten(store, open_responses_store_size=1) == 0
    assert store.responses.get("new").id == "new"


def test_a_run_is_claimed_once(store: Store) -> None:
    for number in range(8):
        queue(store, f"r{number}")
    claimed: list[str] = []

    def claim(owner: str) -> None:
        while (run := store.runs.claim("here", owner)) is not None:
            claimed.append(run.id)

    threads = [threading.Thread(target=claim, args=(f"here/{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == [f"r{number}" for number in range(8)]


def test_a_lease_that_runs_out_is_claimed_and_its_owner_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    queue(store, "r")
    assert store.runs.claim("there", "there/1") is None  # left to the server that took the request
    monkeypatch.setattr(stored_runs, "LEASE_S", -1.0)
    assert store.runs.claim("here", "here/1") is not None
    event = StoredEvent(1, "delta", b"1", False)
    assert store.runs.write("here/1", {"r": Batch([event], begun=True)}).lost == frozenset()
    taken = store.runs.claim("there", "there/1")
    assert taken is not None and taken.begun and taken.attempts == 2 and taken.next_sequence == 2
    assert store.runs.write("here/1", {"r": Batch([StoredEvent(2, "delta", b"2", False)])}).lost == {"r"}
    last = StoredEvent(2, "failed", b"end", True)
    store.runs.write("there/1", {"r": Batch([last], ended=response("r", "failed"))})
    assert [each.data for each in store.runs.events_after("r", 0)] == [b"1", b"end"]
    assert store.responses.get("r").output == [item("r-out")] and store.runs.claim("there", "there/1") is None


def test_a_released_run_is_claimed_again_unless_it_has_begun(store: Store) -> None:
    for id in ("begun", "fresh"):
        queue(store, id)
        store.runs.claim("here", "here/1")
    store.runs.write("here/1", {"begun": Batch([StoredEvent(1, "delta", b"1", False)], begun=True)})
    store.runs.release("here/1", ["begun", "fresh"])
    again = store.runs.claim("here", "here/2")
    assert again is not None and again.id == "fresh" and store.runs.claim("here", "here/2") is None
    store.runs.abandon("here", but="here/2")
    orphan = store.runs.claim("here", "here/2")
    assert orphan is not None and orphan.id == "begun"


def test_a_cancelled_run_is_told_to_its_owner(store: Store) -> None:
    queue(store, "r")
    queue(store, "waiting")
    store.runs.claim("here", "here/1")
    store.runs.cancel("r")
    assert store.runs.write("here/1", {"r": Batch()}).cancelled == {"r"}
    assert store.runs.claim("here", "here/1", only_cancelled=True) is None
    store.runs.cancel("waiting")
    claimed = store.runs.claim("here", "here/1", only_cancelled=True)
    assert claimed is not None and claimed.cancelled


def test_a_database_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LOCALAI_DATABASE_URL"):
        opened("not a url")
    with pytest.raises(ConfigError, match="LOCALAI_DATABASE_URL"):
        opened("oracle9://x")
    with pytest.raises(Unavailable, match="LOCALAI_DATABASE_URL"):
        opened(f"sqlite:///{tmp_path}/no/such/folder/x.db")


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_clients_hear_nothing_of_hosts_and_users(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        for _ in range(3):
            with pytest.raises(Unavailable, match="does not answer") as refused:
                opened(f"postgresql://someone:hunter2@127.0.0.1:{port}/name")
            assert "127.0.0.1" not in str(refused.value) and "someone" not in str(refused.value)
    (record,) = caplog.records
    assert f'"127.0.0.1", port {port} failed: Connection refused' in record.getMessage(), "the log names the cause once"
    assert "hunter2" not in caplog.text and "\n" not in record.getMessage()


def test_a_database_that_never_answers_is_given_up(silent_server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(database.LIBPQ_OPTIONS, "connect_timeout", 2)  # the least that libpq takes
    with pytest.raises(Unavailable, match="does not answer"):
        opened(f"postgresql://someone@127.0.0.1:{silent_server}/name")


def test_a_probe_does_not_wait_for_what_never_answers(silent_server: int) -> None:
    asked = []

    def open_store() -> Store:
        asked.append(1)
        return opened(f"postgresql://someone@127.0.0.1:{silent_server}/name")

    probe = Probe(open_store)
    for _ in range(3):
        with pytest.raises(Unavailable, match="does not answer in time"):
            probe.check(0.05)
    assert asked == [1], "each question has its own thread"


def test_a_probe_sees_a_database_come_and_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_module, "FRESH_S", 0.0)
    probe = Probe(lambda: opened(f"sqlite:///{tmp_path}/later/x.db"))
    with pytest.raises(Unavailable, match="does not answer"):
        probe.check(5.0)
    (tmp_path / "later").mkdir()
    probe.check(5.0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_probe_that_breaks_is_no_good_answer() -> None:
    with pytest.raises(Unavailable, match="could not be asked"):
        Probe(lambda: 1 / 0).check(5.0)  # type: ignore[arg-type, return-value]
    for thread in threading.enumerate():
        if thread.name == "store-probe":
            thread.join()  # so that its traceback is this test's, whose warning is expected


def test_clients_of_one_chain_do_not_wait_for_each_other(
    store: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each notes that all links were used; in different orders that would be a deadlock."""
    monkeypatch.setattr(stored_responses, "TOUCH_S", -1.0)
    put(store, *(f"resp_{number}" for number in range(30)))
    errors: list[Exception] = []

    def read(number: int) -> None:
        own = opened(url)
        try:
            for turn in range(20):
                assert own.responses.chain(f"resp_{29 - (number + turn) % 15}")
        except Exception as error:
            errors.append(error)
        finally:
            own.database.close()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("id", ["", "resp_\0", "resp_" + "x" * 300, "resp_ü", "a b"])
def test_what_can_be_no_id_is_not_found(store: Store, id: str) -> None:
    for look in (store.responses.get, store.responses.inputs, store.responses.chain, store.responses.delete):
        with pytest.raises(ResponseNotFound):
            look(id)
    assert not store.responses.exists(id)
    assert store.responses.find_items([id]) == {}


def test_no_more_runs_wait_than_may(store: Store) -> None:
    waiting = Stored("r0", "queued", True, b"{}", [])
    for number in range(3):
        store.runs.queue(replace(waiting, id=f"r{number}"), [], None, b"{}", "here", [], "", 3)
    with pytest.raises(Overloaded, match="3 background responses"):
        store.runs.queue(replace(waiting, id="r3"), [], None, b"{}", "here", [], "", 3)
    assert not store.responses.exists("r3")
    store.runs.queue(replace(waiting, id="r3"), [], None, b"{}", "there", [], "", 3)


def test_all_that_a_run_leaves_counts(store: Store) -> None:
    request, output = b"r" * 1000, Kept("out", b"o" * 5000)
    store.runs.queue(Stored("run", "queued", True, b"{}", []), [], None, request, "here", [])
    claimed = store.runs.claim("here", "here/1")
    assert claimed is not None
    events = [StoredEvent(0, "delta", b"e" * 300, True)]
    ended = Stored("run", "completed", True, b"{}", [output])
    store.runs.write("here/1", {"run": Batch(events, True, ended)})
    table = stored_responses.responses
    with store.database.reading() as connection:
        size = connection.execute(table.select().where(table.c.id == "run")).one().size
    assert size == 2 + 1000 + 5000 + 300


def test_a_database_that_stops_answering_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(server)
    put(store, "resp_1")
    # Only now, as a busy machine may take longer to make the tables.
    monkeypatch.setattr(database, "ANSWER_S", 1.0)
    monkeypatch.setattr(database, "CONNECT_S", 1)
    monkeypatch.setitem(database.LIBPQ_OPTIONS, "connect_timeout", 2)
    backends = postgres.processes(server)
    with processes.stopped(backends):
        for _ in range(2):  # on a connection of the pool, and on a new one
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="does not answer"):
                store.responses.get("resp_1")
            assert time.monotonic() - begun < 20
    # On a busy machine a connection may take longer than is allowed here.
    processes.wait_for(lambda: is_there(store, "resp_1"), 20)
    store.responses.delete("resp_1")
    with (
        pytest.raises(Unavailable),
        store.database.reading() as connection,
        processes.stopped(postgres.processes(server)),
    ):
        connection.exec_driver_sql("SELECT 1")
    store.database.close()


def test_connections_that_fail_are_closed_at_once(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "CONNECT_S", 1)
    monkeypatch.setitem(database.LIBPQ_OPTIONS, "connect_timeout", 2)
    store = opened(server)
    gc.disable()
    try:
        with processes.stopped(postgres.processes(server)):
            for _ in range(2):
                with pytest.raises(Unavailable):
                    store.responses.get("resp_1")
            assert not list(connections_to(server))
    finally:
        gc.enable()
    store.database.close()


def connections_to(server: str) -> Iterator[socket.socket]:
    """Yield this process's connections to a server's socket, each for as long as it is looked at."""
    folder = server.partition("host=")[2]
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError), socket.socket(fileno=os.dup(int(name))) as connection:
            if connection.family == socket.AF_UNIX and str(connection.getpeername()).startswith(folder):
                yield connection


def test_one_key_takes_half_of_the_room_for_runs_at_most(store: Store) -> None:
    for number in range(2):
        queue(store, f"a{number}", keeper="a", most=4)
    with pytest.raises(TooManyRequests, match="half of LOCALAI_QUEUE_SIZE"):
        queue(store, "a2", keeper="a", most=4)
    for number in range(2):
        queue(store, f"b{number}", keeper="b", most=4)
    with pytest.raises(Overloaded):
        queue(store, "c0", keeper="c", most=4)


def test_without_keys_all_of_the_room_may_be_taken(store: Store) -> None:
    for number in range(4):
        queue(store, f"r{number}", most=4)
    with pytest.raises(Overloaded):
        queue(store, "r4", most=4)


def test_runs_of_those_who_rest_are_left_for_others(store: Store) -> None:
    for number in range(3):
        queue(store, f"a{number}", keeper="a")
    queue(store, "b0", keeper="b")
    claimed = [store.runs.claim("here", "here/1", resting=["a"]) for _ in range(2)]
    assert [run and run.id for run in claimed] == ["b0", None]
    store.runs.cancel("a1")
    cancelled = store.runs.claim("here", "here/1", resting=["a"])
    assert cancelled is not None and cancelled.id == "a1", "its end takes no place"
