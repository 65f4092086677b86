"""Keeps the libraries from fetching anything for a model that is a local folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants


@contextmanager
def offline() -> Iterator[None]:
    """Have the hub's library refuse all requests meanwhile.

    Its variable HF_HUB_OFFLINE would hold for the whole process and its children, which may fetch models themselves.
    """
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
