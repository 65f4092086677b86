"""Tracebacks in the log without what exceptions say."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from localai_flask import log_privacy

SECRET = "the-prompt"


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    before = logging.getLogRecordFactory()
    log_privacy.hide_messages()
    log_privacy.hide_messages()
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.getLogger("private").addHandler(handler)
    yield output
    logging.getLogger("private").removeHandler(handler)
    logging.setLogRecordFactory(before)


class OwnError(Exception):
    pass


def fail() -> None:
    try:
        int(SECRET)
    except ValueError as error:
        raise OwnError(f"no number: {SECRET}") from error


def test_kinds_and_places_are_logged_and_messages_are_not(logged: io.StringIO) -> None:
    try:
        try:
            fail()
        except OwnError:
            raise KeyError(SECRET)  # noqa: B904
    except KeyError:
        logging.getLogger("private").exception("a request failed")
    text = logged.getvalue()
    assert SECRET not in text and "LOCALAI_LOG_PROMPTS" in text
    first, second, third = text.split(log_privacy.LED_TO)
    assert first.startswith("ERROR a request failed\nTraceback") and "ValueError:" in first and "in fail" in first
    assert "test_log_privacy.OwnError:" in second and "KeyError:" in third and third.count("\n") < 12


def test_what_speaks_of_code_alone_is_shown(logged: io.StringIO) -> None:
    try:
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    except ImportError:
        logging.getLogger("private").exception("cannot import")
    assert "ModuleNotFoundError: No module named 'no_such_module'" in logged.getvalue()


def test_exceptions_that_lead_in_a_circle_end(logged: io.StringIO) -> None:
    one, other = ValueError(SECRET), TypeError(SECRET)
    one.__cause__, other.__cause__ = other, one
    logging.getLogger("private").error("a circle", exc_info=one)
    assert logged.getvalue().count(log_privacy.HIDDEN) == 2


def test_records_without_an_exception_are_as_ever(logged: io.StringIO) -> None:
    logging.getLogger("private").error("plain %s", "words")
    logging.getLogger("private").error("no exception", exc_info=True)
    assert logged.getvalue().splitlines()[0] == "ERROR plain words"
