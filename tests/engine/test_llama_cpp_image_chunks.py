"""The numbers that stand for images among tokens, and what is read off them again."""

from __future__ import annotations

import numpy as np

from localai_flask.backends.llama_cpp.vision.chunks import chunk_begins, count_still, make_chunk, whole


def chunk(key: bytes, count: int, positions: int) -> np.ndarray:
    return make_chunk(key, count, np.zeros((1, count), np.int32), positions).tokens


def test_a_chunk_is_the_same_for_the_same_content_and_differs_everywhere_for_another() -> None:
    one, same, other = chunk(b"a", 64, 64), chunk(b"a", 64, 64), chunk(b"b", 64, 64)
    assert (one == same).all() and (one != other).sum() > 60
    assert (one < 0).all() and len(set(one.tolist())) == 64


def test_the_rest_can_be_read_off_the_numbers() -> None:
    images = [chunk(b"a", 6, 3), chunk(b"b", 1, 1), chunk(b"c", 4, 4)]
    text = np.array([1, 2], np.int32)
    tokens = np.concatenate([text, images[0], images[1], text, images[2]])
    assert chunk_begins(tokens) == [2, 8, 11]
    assert count_still(tokens) == 3
    ends = [0, 1, 2, 8, 9, 10, 11, 15]
    assert [whole(tokens, length) for length in range(len(tokens) + 1)] == [
        max(end for end in ends if end <= length) for length in range(len(tokens) + 1)
    ]
    assert whole(images[0], 3) == 0 and chunk_begins(images[0][:0]) == []
