"""The table of commands: what `--help` costs, and commands of other packages."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from localai_flask.cli import SECTIONS, main
from localai_flask.cli.exit_codes import in_commands
from localai_flask.cli.output import Column, _fitting, duration, size
from tests.cli.conftest import run
from tests.support import plugin

HEAVY = ("rich", "requests", "prompt_toolkit", "flask", "sqlalchemy", "markdown_it", "numpy", "torch")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with commands, of which some do not work."""
    plugin.write(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("package")
def test_a_package_brings_a_command() -> None:
    assert run("hello", "you").stdout == "Hello you\n"
    text = run("--help").output
    assert "Greet somebody." in text
    assert "greeting_that_is_not_there" in text, "a broken one is named, and leaves the others alone"
    assert "Serve the models of a folder." in text, "ours cannot be replaced"


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize("name", ["broken", "odd"])
def test_a_broken_command_of_a_package_says_so(name: str) -> None:
    result = run(name)
    assert result.exit_code == 1
    assert "of another package does not work: greeting" in result.stderr


def test_help_is_quick_and_imports_little() -> None:
    code = f"""
import sys
from localai_flask.cli import main
try:
    main(["--help"])
except SystemExit:
    sys.exit(" ".join(name for name in {HEAVY!r} if name in sys.modules) or 0)
"""
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begun < 3  # 0.2 s on a quiet machine


@pytest.mark.parametrize("name", [name for section in SECTIONS.values() for name in section])
def test_every_command_has_help_that_fits_a_terminal(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None and command.get_short_help_str(200)
    result = run(name, "--help")
    assert result.exit_code == 0
    if name != "serve":
        assert len(result.output.splitlines()) < 60, "settings of the server are not for every command"


def test_a_misspelt_command_is_wrong_usage() -> None:
    result = run("lsit")
    assert result.exit_code == 2 and "No such command 'lsit'; perhaps list is meant." in result.stderr
    assert "perhaps search is meant" in run("models", "serch").stderr
    assert "perhaps" not in run("zzz").stderr


def test_columns_are_left_out_where_a_terminal_is_narrow() -> None:
    columns = (Column("NAME"), Column("SIZE", rank=1), Column("MODIFIED", rank=2))
    rows = [["a" * 20, "1.0 GB", "3 days ago"]]
    assert _fitting(columns, rows, 80) == [0, 1, 2]
    assert _fitting(columns, rows, 30) == [0, 1]
    assert _fitting(columns, rows, 10) == [0]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (4.9e9, "4.9 GB"), (98e6, "98 MB"), (2e12, "2.0 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(1.5, "1 second"), (59, "59 seconds"), (60, "1 minute"), (90000, "1 day")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_ctrl_c_ends_any_command_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("localai_flask.cli.client.client.Client.get", interrupt)
    result = run("ps")
    assert (result.exit_code, result.stderr) == (130, "\n")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_finds_no_room_is_told_in_words(unbuffered: str) -> None:
    command = [sys.executable, "-m", "localai_flask", "completion", "bash"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert (done.returncode, done.stderr) == (1, "Error: The output cannot be written: the disk is full.\n")


def test_errors_name_commands_instead_of_endpoints() -> None:
    said = in_commands("There is no model 'x'. GET /v1/models lists the models: a.")
    assert said == "There is no model 'x'. `localai-flask list` lists the models: a."
