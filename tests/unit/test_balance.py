"""Which worker a request goes to."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from localai_flask.pool.client.balance import LONG, Choice, choose


def workers(*loads: int) -> list[Choice]:
    return [Choice(f"w{number}", load) for number, load in enumerate(loads)]


def prompt(number: int) -> str:
    return f"conversation {number} " + "x" * LONG


def test_a_short_text_goes_to_the_least_busy() -> None:
    assert {choose(workers(2, 1, 2), f"text {number}") for number in range(50)} == {1}


def test_equals_share_the_work_and_each_text_has_its_own() -> None:
    counts = Counter(choose(workers(0, 0, 0, 0), prompt(number)) for number in range(4000))
    assert all(800 < count < 1200 for count in counts.values()), counts
    assert len({choose(workers(0, 0, 0), prompt(1)) for _ in range(50)}) == 1


def test_what_goes_on_after_the_same_beginning_goes_to_the_same_worker() -> None:
    beginning = "y" * 2000
    assert len({choose(workers(0, 0, 0, 0), beginning + str(tail)) for tail in range(50)}) == 1


@pytest.mark.parametrize(("least", "slack"), [(0, 1), (1, 1), (8, 2), (40, 10)])
def test_a_little_more_work_is_no_reason_to_go_elsewhere_and_much_is(least: int, slack: int) -> None:
    for number in range(20):
        home = choose(workers(0, 0, 0), prompt(number))
        busy = [least] * 3
        busy[home] = least + slack
        assert choose(workers(*busy), prompt(number)) == home
        busy[home] = least + slack + 1
        assert choose(workers(*busy), prompt(number)) != home


def test_a_worker_that_leaves_moves_only_its_own() -> None:
    four = workers(0, 0, 0, 0)
    for number in range(200):
        home = choose(four, prompt(number))
        if home != 3:
            assert choose(four[:3], prompt(number)) == home


def test_requests_without_a_text_are_spread() -> None:
    random.seed(1)
    assert {choose(workers(0, 0, 0), "") for _ in range(100)} == {0, 1, 2}


def test_half_a_surrogate_pair_is_a_text_too() -> None:
    assert choose(workers(0, 0), "\ud800" * 600) in (0, 1)
