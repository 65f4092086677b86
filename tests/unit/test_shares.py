"""Places that callers share."""

from __future__ import annotations

from localai_flask.keys.shares import Shares


def test_a_caller_takes_its_share_and_leaves_the_others_theirs() -> None:
    shares: Shares[str] = Shares(most=3, share=2)
    assert [shares.try_take("a") for _ in range(3)] == [True, True, False]
    assert [shares.try_take("b") for _ in range(2)] == [True, False]  # all are taken
    shares.give_back("a")
    assert shares.try_take("b")


def test_who_waits_is_next_by_turns() -> None:
    shares: Shares[str] = Shares(most=2, share=2)
    assert shares.try_take("a") and shares.try_take("a")
    for item in ("a1", "a2", "b1"):
        shares.wait(item[0], item, deadline=10.0)
    assert not list(shares.take_next())
    next_ones = []
    for _ in range(3):
        shares.give_back("a" if len(next_ones) != 2 else "b")
        next_ones += shares.take_next()
    assert next_ones == ["a1", "b1", "a2"]


def test_nobody_overtakes_those_of_its_own_who_wait() -> None:
    shares: Shares[str] = Shares(most=9, share=1)
    assert shares.try_take("a")
    shares.wait("a", "a1", deadline=10.0)
    shares.give_back("a")
    assert not shares.try_take("a") and shares.try_take("b")
    assert list(shares.take_next()) == ["a1"]


def test_those_who_have_waited_too_long_are_told() -> None:
    shares: Shares[str] = Shares(most=0, share=0)
    shares.wait("a", "early", deadline=1.0)
    shares.wait("a", "late", deadline=2.0)
    shares.wait("b", "early too", deadline=1.0)
    assert list(shares.expire(1.5)) == ["early", "early too"]
    assert list(shares.expire(2.5)) == ["late"]
