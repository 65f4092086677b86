"""Jobs on SQLite and on PostgreSQL: shared, claimed under leases, cancelled, tried again and forgotten."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.errors import NotFound, Overloaded, ServerConfigError
from localai_flask.gallery.jobs import JobProgress, Jobs, encode_progress
from localai_flask.gallery.models.folder import FILE, find_folder_id, give_folder_id
from localai_flask.gallery.models.removal import Removed
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.settings import Settings
from localai_flask.store import jobs as stored_jobs
from localai_flask.store.database import Database
from localai_flask.store.jobs import Jobs as StoredJobs
from tests.support import postgres


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres.running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/responses.db" if is_sqlite else str(request.getfixturevalue("server"))
    return Settings(database_url=url, models_path=tmp_path / "models")


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    database = Database(settings)
    yield Jobs(database, settings)
    with database.writing() as connection:
        connection.execute(stored_jobs.jobs.delete())
    database.close()


def stored(jobs: Jobs) -> StoredJobs:
    found = jobs.stored()
    assert found is not None
    return found


FIRST, SECOND = InstallRequest(id="a"), InstallRequest(id="b", name="named")


def test_two_that_ask_for_the_same_share_a_job(jobs: Jobs) -> None:
    first = jobs.submit(FIRST)
    assert jobs.submit(InstallRequest(id="a")) == first != jobs.submit(SECOND)
    assert [job.name for job in jobs.list()] == ["named", "a"]
    assert jobs.get(first).request == FIRST and jobs.get(first).status == "queued"
    claimed = stored(jobs).claim("me/1")
    assert claimed is not None and jobs.submit(FIRST) == first, "one that runs is shared too"
    stored(jobs).end("me/1", first, "failed", error="no")
    assert jobs.submit(FIRST) != first
    with pytest.raises(NotFound):
        jobs.get("nope")


def test_a_job_is_taken_over_when_its_lease_has_run_out(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    id = jobs.submit(FIRST)
    ours = stored(jobs)
    monkeypatch.setattr(stored_jobs, "LEASE_S", 0.2)
    assert ours.claim("me/1") is not None and ours.claim("me/2") is None
    assert (
        ours.record_progress("me/1", id, encode_progress(JobProgress("downloading", "a", "f", 5, 10, 2.0))) == "go on"
    )
    told = jobs.get(id).progress
    assert (told.percent, told.remaining_s, told.file) == (50.0, 2.5, "f")
    time.sleep(0.3)
    taken = ours.claim("me/2")
    assert taken is not None and (taken.id, taken.claims) == (id, 2)
    assert ours.record_progress("me/1", id, b"{}") == "lost"
    ours.end("me/1", id, "completed")
    assert jobs.get(id).status == "running", "what a former owner says does not count"


def test_the_leases_of_a_server_end_with_its_process(jobs: Jobs) -> None:
    jobs.submit(FIRST)
    ours = stored(jobs)
    ours.claim("host:1/10")
    ours.abandon("host:2", but="host:2/1")
    assert ours.claim("other/1") is None
    ours.abandon("host:1", but="host:1/11")
    assert ours.claim("host:1/11") is not None


def test_a_cancelled_job(jobs: Jobs) -> None:
    waits, runs = jobs.submit(FIRST), None
    assert jobs.cancel(waits) and jobs.get(waits).status == "cancelled" and not jobs.cancel(waits)
    runs = jobs.submit(SECOND)
    stored(jobs).claim("me/1")
    assert jobs.cancel(runs) and jobs.get(runs).status == "running"
    assert stored(jobs).record_progress("me/1", runs, b"{}") == "cancelled"
    assert jobs.submit(SECOND) != runs, "nobody shares what is being given up"


def test_a_job_is_tried_again_after_a_pause_or_a_restart(jobs: Jobs) -> None:
    id = jobs.submit(FIRST)
    ours = stored(jobs)
    ours.claim("me/1")
    ours.postpone("me/1", id, 0.2, "the network is down")
    assert ours.claim("me/1") is None
    job = jobs.get(id)
    assert (job.status, job.failures, job.error) == ("queued", 1, "the network is down")
    time.sleep(0.3)
    assert ours.claim("me/1") is not None
    ours.release("me/1", id)
    claimed = ours.claim("me/2")
    assert claimed is not None and claimed.claims == 2, "a stop in good order is no sign of a fatal job"


def test_jobs_are_bounded_and_forgotten(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_jobs, "MOST_UNFINISHED", 2)
    monkeypatch.setattr(stored_jobs, "MOST_KEPT", 1)
    ids = [jobs.submit(request) for request in (FIRST, SECOND)]
    with pytest.raises(Overloaded):
        jobs.submit(InstallRequest(id="c"))
    removal = jobs.record_removal(Removed("x", ("x.yaml",), ("y",)))
    assert jobs.get(removal).removed == Removed("x", ("x.yaml",), ("y",))
    jobs.cancel(ids[0])
    stored(jobs).forget_old()
    assert {job.id for job in jobs.list()} == {ids[0], ids[1]}
    monkeypatch.setattr(stored_jobs, "KEPT_S", 0.0)
    stored(jobs).forget_old()
    assert [job.id for job in jobs.list()] == [ids[1]]


def test_jobs_belong_to_the_folder(jobs: Jobs, settings: Settings, tmp_path: Path) -> None:
    id = jobs.submit(FIRST)
    database = Database(settings)
    elsewhere = Jobs(database, Settings(models_path=tmp_path / "other"))
    assert elsewhere.list() == [] and not (tmp_path / "other").exists(), "asking makes nothing"
    other = elsewhere.submit(FIRST)
    assert other != id and [job.id for job in elsewhere.list()] == [other]
    assert stored(elsewhere).claim("me/1") is not None and stored(elsewhere).claim("me/1") is None
    settings.models_path.rename(tmp_path / "moved")
    assert [job.id for job in Jobs(database, Settings(models_path=tmp_path / "moved")).list()] == [id]
    database.close()


def test_a_folder_has_one_name(tmp_path: Path) -> None:
    assert find_folder_id(tmp_path) is None
    assert give_folder_id(tmp_path) == give_folder_id(tmp_path) == find_folder_id(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerConfigError, match="Nothing can be installed"):
        give_folder_id(tmp_path / "file")
