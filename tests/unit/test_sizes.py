"""Sizes and durations as people write them."""

from __future__ import annotations

from typing import Any

import pytest

from localai_flask.sizes import check_budget, parse_bytes, parse_duration, parse_share


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("512", 512), ("1k", 1024), ("1.5 GiB", 3 << 29), ("12GB", 12 << 30), ("3mb", 3 << 20), ("1T", 1 << 40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1 G B", "1e9", "12 apples", "101%", "-1%", "x%"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        check_budget(text)


def test_shares() -> None:
    assert (parse_share("80%"), parse_share("0%"), parse_share("80")) == (0.8, 0.0, None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0),
        (90, 90),
        (1.5, 1.5),
        (-1, -1),
        (-60, -1),
        ("5", 5),
        ("10m", 600),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("-1", -1),
        ("-1m", -1),
        ("2d", 172800),
        ("0", 0),
        ("1.5h", 5400),
    ],
)
def test_durations(value: Any, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize("value", ["", "m", "ten", "10 m", "10x", True, None, [], "inf", "nan", float("inf"), "5m3"])
def test_what_is_no_duration(value: Any) -> None:
    with pytest.raises(ValueError, match=r'seconds or a duration like "10m"'):
        parse_duration(value)
