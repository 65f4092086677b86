"""The file of settings: what it may hold, what wins over it, and what a reload takes from it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from localai_flask.address import Address
from localai_flask.pool.announced_settings import AnnouncedSettings
from localai_flask.server.settings_reload import Reload, read_first
from localai_flask.settings import Settings
from localai_flask.settings.fields import env_name
from localai_flask.settings.file import FILE, FROM_FILE, completed, read

LOOPBACK = [Address.parse("127.0.0.1:80")]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.env"


def test_lines_are_read_as_in_other_environment_files(file: Path) -> None:
    file.write_text("\ufeff# a comment\n; another\n\nA=1\nexport B = \"two words\"\nC='#3'\r\nD=\nE=x=y # z\n")
    assert read(str(file)) == {"A": "1", "B": "two words", "C": "#3", "D": "", "E": "x=y # z"}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("A=1\nB\n", "line 2 is no setting"),
        ("LOCALAI_WORKERS=none\n", "LOCALAI_WORKERS='none' is not a number"),
        (f"{FILE}=other\n", "names no other"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_file(file: Path, content: str, why: str) -> None:
    file.write_text(content)
    with pytest.raises(ValueError, match=f"^{file}.*{why}"):
        completed({FILE: str(file)})


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^/nowhere cannot be read .*LOCALAI_SETTINGS_FILE"):
        completed({FILE: "/nowhere"})


def test_a_file_that_may_be_missing_may_come_later(file: Path) -> None:
    environment = {FILE: f"-{file}"}
    reload = Reload(read_first(environment), environment)
    assert (reload.settings.queue_size, reload.is_due()) == (512, False)
    file.write_text("LOCALAI_QUEUE_SIZE=3\n")
    assert (reload.is_due(), reload.is_due()) == (False, True)
    assert reload.take_up(LOOPBACK, file.with_suffix(".json"))
    assert reload.settings.queue_size == 3


def test_variables_win_and_what_came_from_the_file_is_known_as_such(file: Path) -> None:
    file.write_text("LOCALAI_QUEUE_SIZE=1\nLOCALAI_THREADS=2\nLOCALAI_LOG_LEVEL=debug\n")
    given = {FILE: str(file), "LOCALAI_QUEUE_SIZE": "7", "LOCALAI_LOG_LEVEL": "", "HOME": "/"}
    first = completed(given)
    assert first == {**given, "LOCALAI_THREADS": "2", "LOCALAI_LOG_LEVEL": "debug", FROM_FILE: first[FROM_FILE]}
    file.write_text("LOCALAI_THREADS=3\n")
    assert completed(first) == {FILE: str(file), "LOCALAI_QUEUE_SIZE": "7", "HOME": "/", "LOCALAI_THREADS": "3",
                                FROM_FILE: "LOCALAI_THREADS"}  # fmt: skip


def started(file: Path, content: str, **given: str) -> tuple[Reload, dict[str, str]]:
    file.write_text(content)
    environment = {FILE: str(file), **given}
    return Reload(read_first(environment), environment), environment


def test_a_reload_takes_up_what_may_change_and_leaves_the_rest(file: Path, tmp_path: Path) -> None:
    reload, environment = started(file, "LOCALAI_QUEUE_SIZE=1\nLOCALAI_THREADS=2\nLOCALAI_UPLOAD_LIMIT=3\n")
    announced = AnnouncedSettings(tmp_path / "announced.json", reload.settings)
    assert announced.look() is None
    file.write_text("LOCALAI_QUEUE_SIZE=10\nLOCALAI_THREADS=20\nLOCALAI_CONTEXT_SIZE=30\nLOCALAI_REQUEST_TIMEOUT=40\n")
    assert reload.take_up(LOOPBACK, tmp_path / "announced.json")
    expected = Settings(settings_file=str(file), queue_size=10, threads=2, request_timeout=40.0)
    assert reload.settings == Settings.from_environment(environment) == expected
    assert announced.look() == expected
    assert announced.look() is None
    file.write_text("")
    assert reload.take_up(LOOPBACK, tmp_path / "announced.json")
    assert reload.settings == Settings.from_environment(environment) == announced.look()
    assert reload.settings == Settings(settings_file=str(file), threads=2)


@pytest.mark.parametrize(
    ("content", "address"),
    [("LOCALAI_QUEUE_SIZE=none\n", "127.0.0.1:80"), ("LOCALAI_QUEUE_SIZE=2\n", "0.0.0.0:80")],
    ids=["not a number", "a public address without keys"],
)
def test_a_file_that_must_not_be_used_changes_nothing(
    file: Path, tmp_path: Path, content: str, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    reload, environment = started(file, "LOCALAI_QUEUE_SIZE=1\nLOCALAI_API_KEY=hunter2\n")
    before = reload.settings, dict(environment)
    file.write_text(content)
    assert not reload.take_up([Address.parse(address)], tmp_path / "announced.json")
    assert (reload.settings, environment) == before
    assert not (tmp_path / "announced.json").exists()
    assert "the settings stay as they were" in caplog.text and "hunter2" not in caplog.text


def test_a_reload_that_cannot_be_told_changes_nothing(file: Path, tmp_path: Path) -> None:
    reload, environment = started(file, "LOCALAI_QUEUE_SIZE=1\n")
    file.write_text("LOCALAI_QUEUE_SIZE=2\n")
    assert not reload.take_up(LOOPBACK, tmp_path / "gone" / "announced.json")
    assert (reload.settings.queue_size, environment["LOCALAI_QUEUE_SIZE"]) == (1, "1")


def test_the_watch_waits_until_a_file_is_written(file: Path) -> None:
    reload, _ = started(file, "LOCALAI_QUEUE_SIZE=1\n")
    assert not reload.is_due()
    for size in ("22", "333"):  # two looks find it different each time
        file.write_text(f"LOCALAI_QUEUE_SIZE={size}\n")
        assert not reload.is_due()
    assert reload.is_due()
    assert reload.take_up(LOOPBACK, file.with_suffix(".json"))
    assert not reload.is_due()
    file.unlink()
    assert not reload.is_due()
    assert reload.is_due()


def test_announced_settings_are_nobody_elses_to_read(file: Path, tmp_path: Path) -> None:
    reload, _ = started(file, "LOCALAI_API_KEY=hunter2\n")
    reload.take_up(LOOPBACK, tmp_path / "announced.json")
    assert (tmp_path / "announced.json").stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / "announced.json").read_text())["LOCALAI_API_KEY"] == "hunter2"


def test_what_decides_processes_and_loaded_models_needs_a_restart() -> None:
    restart = {field.name for field in dataclasses.fields(Settings) if field.metadata["needs_restart"]}
    assert {"address", "models_path", "database_url", "threads", "context_size", "settings_file"} <= restart
    assert not {"log_level", "api_key", "queue_size", "cors_allow_origins", "request_timeout"} & restart
    assert all(env_name(field) for field in dataclasses.fields(Settings))
