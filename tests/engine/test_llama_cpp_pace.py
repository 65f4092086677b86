"""How much of a prompt a step may compute."""

from __future__ import annotations

import pytest

from localai_flask.backends.llama_cpp.scheduling.pace import (
    ALONE_S,
    BESIDE_S,
    FIRST_CHUNK,
    LEAST_CHUNK,
    STRETCH,
    TILE,
    Pace,
)


def run(pace: Pace, *, token_s: float, decode_s: float, streams: int, steps: int = 30) -> float:
    """Obey the pace on a machine of such a speed; give the length of the last step in seconds."""
    seconds = 0.0
    for _ in range(steps):
        tokens = pace.budget(streams)
        seconds = tokens * token_s + (decode_s if streams else 0.0)
        pace.observe(tokens, streams, seconds)
        pace.observe(0, max(streams, 1), decode_s)
    return seconds


def test_the_first_chunk_is_small_and_a_fast_machine_soon_fills_the_batch():
    pace = Pace(512)
    assert pace.budget(0) == FIRST_CHUNK
    pace.observe(FIRST_CHUNK, 0, 0.01)
    assert pace.budget(0) == 512


@pytest.mark.parametrize("token_s", [0.002, 0.01, 0.02])
def test_a_slow_machine_ends_its_steps_in_time(token_s):
    assert run(Pace(4096), token_s=token_s, decode_s=0.02, streams=0) <= ALONE_S + TILE * token_s
    beside = run(Pace(4096), token_s=token_s, decode_s=0.02, streams=3)
    assert beside <= max(BESIDE_S, LEAST_CHUNK * token_s + 0.02)


def test_running_streams_wait_a_few_of_their_own_steps_at_most():
    for decode_s in (0.001, 0.03):
        seconds = run(Pace(4096), token_s=0.0001, decode_s=decode_s, streams=1)
        assert seconds == pytest.approx(STRETCH * decode_s, rel=0.1)
    assert run(Pace(4096), token_s=0.0001, decode_s=0.3, streams=1) == pytest.approx(BESIDE_S, rel=0.1)


def test_streams_that_never_ran_without_prompts_are_judged_by_their_steps_beside_them():
    pace = warmed(token_s=0.004, decode_s=0.02)
    assert pace.budget(2) == int((STRETCH - 1) * (0.02 + 0.004) / 0.004)
    for _ in range(40):
        tokens = pace.budget(2)
        pace.observe(tokens, 2, 0.04 + 0.004 * tokens)
    assert pace.budget(2) == pytest.approx((STRETCH - 1) * 0.04 / 0.004, abs=1)
    pace.observe(10, 2, 1.0)  # the machine did something else
    for _ in range(40):
        pace.observe(10, 2, 0.04 + 0.004 * 10)
    assert pace.budget(2) == pytest.approx((STRETCH - 1) * 0.04 / 0.004, abs=1)
    pace.observe(0, 2, 0.03)
    assert pace.budget(2) == pytest.approx((STRETCH - 1) * 0.03 / 0.004, abs=1)


def test_a_prompt_always_goes_on():
    pace = Pace(512)
    pace.observe(512, 1, 1000.0)
    pace.observe(0, 1, 10.0)
    assert pace.budget(1) == LEAST_CHUNK
    assert Pace(8).budget(1) == 8


def test_a_short_chunk_says_nothing_about_the_rate():
    pace = Pace(512)
    pace.observe(512, 0, 0.1)
    before = pace.budget(0)
    pace.observe(1, 0, 5.0)
    assert pace.budget(0) == before


def warmed(*, token_s: float = 0.004, decode_s: float = 0.02) -> Pace:
    pace = Pace(4096)
    pace.observe(100, 0, 100 * token_s)
    pace.observe(0, 1, decode_s)
    return pace


def test_a_step_with_prompts_only_leaves_no_short_rest():
    pace = warmed()
    assert pace.budget(0, 1000) == 2 * TILE  # not 100, of which 36 would take longer each
    assert pace.budget(0, 250) == 250
    assert pace.budget(0, 100) == 2 * TILE


def test_prompts_alone_fill_tiles_unless_that_takes_too_long():
    assert warmed(token_s=0.001).budget(0, 1000) == 6 * TILE
    assert warmed(token_s=0.02).budget(0, 1000) == TILE
    assert warmed(token_s=0.2).budget(0, 1000) == LEAST_CHUNK


@pytest.mark.parametrize(("token_s", "tiles"), [(0.0001, 64), (0.002, 4), (0.005, 2), (0.01, 1), (0.02, 1)])
def test_a_lone_prompt_has_longer_steps_of_one_two_or_four_tiles_and_so_on(token_s, tiles):
    assert warmed(token_s=token_s).budget(0, 50_000, is_lone=True) == tiles * TILE


def test_the_end_of_a_lone_prompt_keeps_nobody_waiting_for_longer():
    assert warmed(token_s=0.003).budget(0, 300, is_lone=True) == 300
    assert warmed(token_s=0.003).budget(0, 400, is_lone=True) == 4 * TILE
    assert warmed(token_s=0.003).budget(1, 400, is_lone=True) == 20


def test_prompts_beside_streams_end_at_once_but_rarely():
    pace = warmed()
    assert pace.budget(1, 1000) == 15  # too many for that
    assert pace.budget(1, 90) >= 90
    assert pace.budget(1, 90) >= 90
    pace.observe(0, 1, 0.02)
    assert pace.budget(1, 90) >= 90
    assert pace.budget(1, 90) == 15
    for _ in range(100):
        pace.observe(0, 1, 0.02)
    assert pace.budget(1, 90) >= 90
    assert pace.budget(1, 90) == 15


def test_the_rest_of_a_long_prompt_is_no_short_prompt():
    assert warmed().budget(1, 90, 90) >= 90
    assert warmed().budget(1, 90, 290) == 15


def test_a_step_costs_what_it_cost_with_so_many_streams():
    pace = warmed()
    alone = pace.budget(1)
    pace.observe(0, 8, 0.08)
    assert pace.budget(1) == alone
    assert pace.budget(8) == 3 * 0.08 / 0.004
    assert alone < pace.budget(4) < pace.budget(8)
