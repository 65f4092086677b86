"""The pool with real processes: loading once, cancelling, and surviving the death of any of them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localai_flask.config.blocks import Limits
from localai_flask.config.folder.look import Look
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ConfigError, DeadlineExceeded, ModelFileChanging, Unavailable, WorkerDied
from localai_flask.generation import Finished, FinishReason, Prompt, Started
from localai_flask.pool.client.pool_client import PoolClient
from localai_flask.pool.messages import Terms
from localai_flask.sampling_params import SamplingParams
from tests.support.pool import Pool, ask, echo, texts, whole
from tests.support.processes import state, wait_for


def script(say: str, **fields: object) -> str:
    return json.dumps({"say": say, **fields})


def test_a_request_is_answered_with_exact_usage(pool: Pool) -> None:
    text, finished = whole(ask(pool.session(echo()), "héllo"))
    assert text == "héllo"
    assert finished.reason is FinishReason.EOS
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (6, 6)


def test_a_model_is_loaded_once_however_many_ask(pool: Pool) -> None:
    answers: list[str] = []

    def one() -> None:
        answers.append(whole(ask(pool.session(echo("slow", "load_seconds:0.5")), "hi"))[0])

    threads = [threading.Thread(target=one) for _ in range(12)]
    for thread in threads:
        thread.start()
    pids = set()
    while any(thread.is_alive() for thread in threads):
        pids.update(pool.workers())
        time.sleep(0.02)
    assert answers == ["hi"] * 12
    assert len(pids) == 1


def test_loading_tells_its_progress(pool: Pool) -> None:
    session = pool.client.session(echo("slow", "load_seconds:1"))
    seen = [progress for progress in session.wait_ready(beat=0.1) if progress]
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert session.info.backend == "echo"


def test_a_load_failure_is_told_to_all_and_not_tried_again_at_once(pool: Pool) -> None:
    config = echo("bad", "load_error:the file is broken; download it again")
    for _ in range(2):
        with pytest.raises(ApiError, match="the file is broken") as caught:
            pool.session(config)
        assert caught.value.info.code == ConfigError.code
    assert pool.client.states()["bad"] == "failed"
    wait_for(lambda: not pool.workers(), 5, "the failed worker gone")


def test_a_failing_request_leaves_the_others_alone(pool: Pool) -> None:
    session = pool.session(echo())
    slow = texts(ask(session, script("abcdefghij", pace_ms=20)))
    assert next(slow) == "a"
    with pytest.raises(ApiError, match="told the echo backend to fail"):
        whole(ask(session, script("xyz", fail_after=2)))
    assert "".join(slow) == "bcdefghij"


def test_a_closed_request_frees_its_slot(pool: Pool) -> None:
    session = pool.session(echo("one", "slots:1"))
    stalled = ask(session, script("abc", stall_after=1))
    assert next(texts(stalled)) == "a"  # closing the iterator closes the request
    assert whole(ask(session, "next"))[0] == "next"


def test_a_queued_request_that_is_closed_never_starts(pool: Pool) -> None:
    session = pool.session(echo("one", "slots:1"))
    running = texts(ask(session, script("abc", pace_ms=100)))
    assert next(running) == "a"
    ask(session, script("never", kill_after=0)).close()
    assert "".join(running) == "bc"
    assert whole(ask(session, "alive"))[0] == "alive"


def test_a_deadline_ends_a_queued_or_running_request(pool: Pool) -> None:
    session = pool.session(echo())
    generation = session.generate([(Prompt(script("abc", pace_ms=200)), SamplingParams())], Terms(timeout_s=0.3))
    with pytest.raises(ApiError) as caught:
        whole(generation)
    assert caught.value.info.code == DeadlineExceeded.code


def test_a_deadline_is_seen_while_a_step_lasts(pool: Pool) -> None:
    session = pool.session(echo())
    blocked = session.generate([(Prompt(script("abc", block_after=1)), SamplingParams())], Terms(timeout_s=0.2))
    with pytest.raises(ApiError, match="ended while the engine computed") as caught:
        whole(blocked)
    assert caught.value.info.code == DeadlineExceeded.code
    os.kill(*pool.workers(), signal.SIGKILL)  # it never ends otherwise


def test_what_came_in_time_is_given_to_who_reads_it_late(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localai_flask.pool.client.generation.LATE_S", 0.1)
    session = pool.session(echo())
    generation = session.generate([(Prompt(script("abc")), SamplingParams())], Terms(timeout_s=2))
    time.sleep(2.5)
    assert whole(generation)[0] == "abc"


def test_a_deadline_is_that_of_all_sequences_together(pool: Pool) -> None:
    session = pool.session(echo())
    requests = [(Prompt(script("ab", pace_ms=50)), SamplingParams()) for _ in range(100)]
    began = []
    with pytest.raises(ApiError) as caught:
        for event in session.generate(requests, Terms(timeout_s=0.5), at_once=1).events():
            began += [event[0]] if event is not None and isinstance(event[1], Started) else []
    assert caught.value.info.code == DeadlineExceeded.code
    assert 1 < len(began) < 50


def test_a_request_beyond_the_models_limit_is_refused_with_its_wait(pool: Pool) -> None:
    session = pool.session(echo("two", limits=Limits(max_concurrent=2, retry_after_seconds=7)))
    running = [texts(ask(session, script("ab", stall_after=1))) for _ in range(2)]
    assert [next(stream) for stream in running] == ["a", "a"]
    with pytest.raises(ApiError, match="takes 2 requests at once") as caught:
        whole(ask(session, "third"))
    assert (caught.value.info.status, caught.value.info.retry_after) == (503, 7)
    running.pop().close()
    assert whole(ask(session, "third"))[0] == "third"
    running.pop().close()


def test_several_sequences_run_together(pool: Pool) -> None:
    session = pool.session(echo())
    requests = [(Prompt(script(word, pace_ms=10)), SamplingParams()) for word in ("one", "two", "three")]
    said = ["", "", ""]
    for event in session.generate(requests).events():
        if event is not None and not isinstance(event[1], Finished):
            said[event[0]] += getattr(event[1], "text", "")
    assert said == ["one", "two", "three"]


@pytest.mark.parametrize("death", ["kill_after", "raise_after"])
def test_a_dying_worker_ends_its_streams_and_is_replaced(pool: Pool, death: str) -> None:
    session = pool.session(echo())
    stream = texts(ask(session, script("abcdefghijkl", pace_ms=300)))
    assert next(stream) == "a"
    begun = time.monotonic()
    with pytest.raises(ApiError) as caught:
        whole(ask(session, script("xyz", **{death: 1})))
    assert caught.value.info.code == WorkerDied.code
    with pytest.raises(ApiError):
        list(stream)
    assert time.monotonic() - begun < 2
    assert whole(ask(pool.session(echo()), "again"))[0] == "again"


def test_a_killed_worker_comes_back_without_being_asked(pool: Pool) -> None:
    pool.session(echo())
    (victim,) = pool.workers()
    os.kill(victim, signal.SIGKILL)
    (successor,) = wait_for(lambda: [pid for pid in pool.workers() if pid != victim], 5, "a new worker")
    wait_for(lambda: pool.client.states()["echo"] == "ready", 5, "ready again")
    assert successor != victim
    assert state(victim) == "", "the killed worker was not reaped"


def test_readiness_needs_a_round_trip_through_what_is_required_alone(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "echo.yaml").write_text("name: echo\nbackend: echo\n")
    pool = Pool(tmp_path, LOCALAI_MODELS_PATH=str(models), LOCALAI_LOAD_TO_MEMORY="echo")
    try:
        wait_for(lambda: _ready(pool), 5, "the manager answers, and the model")
        (worker,) = pool.workers()
        pool.session(echo("other"))
        (other,) = (each for each in pool.workers() if each != worker)
        with stopped(other):
            pool.client.check(0.5)
        with stopped(worker):
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="echo does not answer"):
                pool.client.check(0.5)
            assert time.monotonic() - begun < 1
        wait_for(lambda: _ready(pool), 5, "ready again")
    finally:
        pool.close()


def test_an_edit_leaves_what_is_required_ready(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    file = models / "echo.yaml"
    file.write_text("name: echo\nbackend: echo\n")
    pool = Pool(tmp_path, LOCALAI_MODELS_PATH=str(models), LOCALAI_LOAD_TO_MEMORY="echo")
    try:
        wait_for(lambda: _ready(pool), 5, "ready")
        (old,) = pool.workers()
        file.write_text("name: echo\nbackend: echo\ncontext_size: 100\n")
        wait_for(lambda: old not in pool.workers(), 10, "the worker of the old form gone")
        said = set()

        def is_ready() -> bool:
            try:
                pool.client.check(0.5)
            except Unavailable as error:
                said.add(str(error))
                return False
            return True

        wait_for(is_ready, 5, "ready again")
        assert said <= {"Model echo is not ready: it is loading"}
    finally:
        pool.close()


def test_a_silent_worker_is_replaced(tmp_path: object) -> None:
    pool = Pool(tmp_path, LOCALAI_WORKER_SILENCE_TIMEOUT="2")  # type: ignore[arg-type]
    try:
        session = pool.session(echo())
        (worker,) = pool.workers()
        stream = texts(ask(session, script("ab", stall_after=1)))
        assert next(stream) == "a"
        os.kill(worker, signal.SIGSTOP)
        with pytest.raises(ApiError, match="ended while it ran"):
            list(stream)
        assert whole(ask(pool.session(echo()), "again"))[0] == "again"
    finally:
        pool.close()


def test_streams_go_on_without_the_manager_and_the_next_adopts_the_workers(pool: Pool) -> None:
    session = pool.session(echo())
    (worker,) = pool.workers()
    stream = texts(ask(session, script("abcdefghij", pace_ms=200)))
    assert next(stream) == "a"
    pool.manager.kill()
    pool.manager.wait()
    assert next(stream) == "b"
    assert whole(ask(pool.client.session(echo()), "x"))[0] if _wait(pool) else False
    pool.manager = pool.start_manager()
    assert "".join(stream) == "cdefghij"
    wait_for(lambda: _ready(pool), 5, "the new manager knows the model")
    assert whole(ask(pool.session(echo()), "same"))[0] == "same"
    assert pool.workers() == [worker], "the worker was not adopted but replaced"


def _wait(pool: Pool) -> bool:
    session = pool.session(echo())
    return whole(ask(session, "x"))[0] == "x"


def test_a_worker_told_to_leave_finishes_and_its_successor_takes_over(pool: Pool) -> None:
    session = pool.session(echo())
    (worker,) = pool.workers()
    stream = texts(ask(session, script("abcdef", pace_ms=100)))
    assert next(stream) == "a"
    os.kill(worker, signal.SIGTERM)
    assert whole(ask(session, "moved"))[0] == "moved"
    assert "".join(stream) == "bcdef"
    wait_for(lambda: worker not in pool.workers(), 5, "the leaving worker gone")


def test_a_changed_config_gets_a_new_worker_and_the_old_one_leaves(pool: Pool) -> None:
    pool.session(echo())
    (old,) = pool.workers()
    session = pool.session(echo(context_size=100))
    assert session.info.context_length == 100
    wait_for(lambda: old not in pool.workers(), 5, "the superseded worker gone")


def test_replicas_share_the_work(pool: Pool) -> None:
    config = echo("twins", "slots:1", replicas=2)
    session = pool.session(config)
    wait_for(lambda: len(pool.client._started()[0].status(config.key).workers) == 2, 10, "both replicas")  # type: ignore[union-attr]
    first, second = (texts(ask(session, script("ab", pace_ms=300))) for _ in range(2))
    begun = time.monotonic()
    assert next(first) + next(second) == "aa"
    assert time.monotonic() - begun < 0.25, "the second request waited for the first"
    assert "".join(first) + "".join(second) == "bb"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _ready(pool: Pool) -> bool:
    try:
        pool.client.check(0.5)
    except Unavailable:
        return False
    return True


def test_a_request_waits_for_a_file_that_is_whole_and_has_just_been_written(pool: Pool) -> None:
    looks = 0

    def look(config: ModelConfig, is_whole: bool) -> Look:
        nonlocal looks
        looks += 1
        if looks < 3:
            error = ModelFileChanging("The file is still being copied.")
            error.is_whole = is_whole
            raise error
        now = time.monotonic()
        return Look(now, now)

    with pytest.raises(ModelFileChanging):
        list(PoolClient(pool.runtime, lambda config: look(config, False)).session(echo()).wait_ready())
    assert looks == 1, "a file that is not whole was waited for"
    session = PoolClient(pool.runtime, lambda config: look(config, True)).session(echo())
    beats = list(session.wait_ready())
    assert looks == 3 and beats[0] is None and session.info.backend == "echo"
