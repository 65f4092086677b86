"""The index of beginnings, against a look at each sequence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("llama_cpp")

from localai_flask.backends.llama_cpp.cache.prefix_index import PrefixIndex
from localai_flask.backends.llama_cpp.cache.shifting import common_prefix

sequences = st.lists(st.sampled_from([0, 1, 255, 256, 1 << 20]), max_size=6)


class Held:
    def __init__(self, tokens: list[int]):
        self.tokens = np.array(tokens, np.int32)


@given(st.lists(st.tuples(sequences, st.booleans()), max_size=30), sequences)
def test_it_finds_what_a_look_at_each_would(kept, wanted):
    index: PrefixIndex[Held] = PrefixIndex(lambda held: held.tokens)
    holders = [(Held(tokens), stays) for tokens, stays in kept]
    for holder, _ in holders:
        index.add(holder)
    for holder, stays in holders:
        if not stays:
            index.remove(holder)
    left, prompt = [holder for holder, stays in holders if stays], np.array(wanted, np.int32)
    assert len(index) == len(left)

    common = {holder: common_prefix(holder.tokens, prompt) for holder in left}
    near = list(index.nearest(prompt))
    assert near == [(holder, common[holder]) for holder, _ in near]
    assert [length for _, length in near] == sorted((length for length in common.values() if length), reverse=True)
    assert len({holder for holder, _ in near}) == len(near)
    longer = {holder for holder in left if common[holder] == len(prompt)}
    assert set(index.beginning_with(prompt)) == longer
    shorter = index.beginnings_of(prompt)
    assert set(shorter) == {holder for holder in left if common[holder] == len(holder.tokens)}
    assert [len(holder.tokens) for holder in shorter] == sorted((len(each.tokens) for each in shorter), reverse=True)


def test_a_beginning_is_found_past_a_thousand_others_by_a_few_comparisons(monkeypatch):
    looks = []
    monkeypatch.setattr(
        "localai_flask.backends.llama_cpp.cache.prefix_index.common_prefix",
        lambda a, b: looks.append(1) or common_prefix(a, b),
    )
    index: PrefixIndex[Held] = PrefixIndex(lambda held: held.tokens)
    for last in range(1000):
        index.add(Held([7, 7, 7, last, 1]))
    found, length = next(index.nearest(np.array([7, 7, 7, 500, 1, 2], np.int32)))
    assert (int(found.tokens[3]), length, len(looks)) == (500, 5, 2)
    index.add(Held([7, 7]))
    assert len(index.beginnings_of(np.array([7, 7, 7, 500, 0], np.int32))) == 1 and len(looks) == 3
