"""How downloads are shown."""

from __future__ import annotations

import pytest

from localai_flask.cli import progress
from localai_flask.cli.progress import shown_download
from localai_flask.gallery.progress import Progress


def test_without_a_terminal_the_end_is_told_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_S", 3600.0)
    with shown_download("small") as report:
        for done in (0, 1_000_000, 2_000_000, 2_000_000, 2_000_000):
            report(Progress(done, 2_000_000, 0.0))
    assert capsys.readouterr().err == "Fetching small: 0 of 2 MB\nFetching small: 2 of 2 MB\n"
