"""Places of the web worker and of keys, and which requests need one."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from localai_flask.api.key_places import KeyPlaces
from localai_flask.api.limits import TAKES_PLACE, Places
from localai_flask.errors import Overloaded, TooManyRequests

NEED_NONE = {"clearLog", "cancelRequest", "cancelResponse", "unloadModel"}
"""Posts that wait for no model."""


def test_every_post_that_works_on_a_model_needs_a_place(app: Flask) -> None:
    for rule in app.url_map.iter_rules():
        if "POST" not in (rule.methods or ()):
            continue
        view = app.view_functions[rule.endpoint]
        name = getattr(view, "_apidoc", {}).get("manual_doc", {}).get("operationId", rule.endpoint)
        assert getattr(view, TAKES_PLACE, False) != (name in NEED_NONE), (
            f"mark {rule.rule} with `takes_place`, or name {name} above"
        )


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_wait_told_is_that_until_a_place_is_free() -> None:
    clock = Clock()
    places = Places(2, clock)
    for _ in range(2):
        taken = [places.take(), places.take()]
        with pytest.raises(Overloaded) as refused:
            places.take()
        clock.now += 30
        for place in taken:
            place.release()
            place.release()
    assert refused.value.info.retry_after == 15
    assert places.try_take() is not None


def test_a_keys_places_are_those_of_all_processes(tmp_path: Path) -> None:
    clock = Clock()
    one, other = KeyPlaces(tmp_path, clock), KeyPlaces(tmp_path)  # as two processes have them
    first, second = one.take("a", 3), other.take("a", 3)
    third = one.take("a", 3)
    for places in (one, other):
        with pytest.raises(TooManyRequests, match="'a' has 3 requests"):
            places.take("a", 3)
    other.take("b", 1)
    clock.now += 60
    first.release()
    first.release()
    fourth = other.take("a", 3)
    with pytest.raises(TooManyRequests) as refused:
        one.take("a", 3)
    assert refused.value.info.retry_after == 20
    for place in (second, third, fourth):
        place.release()
    assert len([one.take("a", 3) for _ in range(3)]) == 3


def test_a_limit_that_is_lowered_holds_at_once(tmp_path: Path) -> None:
    places = KeyPlaces(tmp_path)
    for _ in range(3):
        places.take("a", 3)
    with pytest.raises(TooManyRequests):
        places.take("a", 1)
