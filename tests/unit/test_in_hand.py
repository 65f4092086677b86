"""Which request a worker had in hand, told by a file; and without one where the disk is full."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from localai_flask.pool.in_hand import DIGEST_BYTES, InHand, Mark, read_suspect

ONE, OTHER = Mark(bytes([1]) * DIGEST_BYTES), Mark(bytes([2]) * DIGEST_BYTES, bytes([3]) * DIGEST_BYTES)


def test_what_is_alone_in_hand_can_be_suspected(tmp_path: Path) -> None:
    path = tmp_path / "worker.hand"
    hand = InHand(path)
    assert read_suspect(path) is None
    hand.begin(ONE)
    assert read_suspect(path) == ONE
    hand.keep(1, ONE)
    assert read_suspect(path) == ONE
    hand.keep(2, OTHER)
    assert read_suspect(path) is None, "there are two"
    hand.drop(1)
    assert read_suspect(path) == OTHER


def test_a_full_disk_costs_the_suspicion_and_not_the_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", is_full)
    hand = InHand(tmp_path / "worker.hand")
    hand.begin(ONE)
    hand.keep(1, ONE)
    assert read_suspect(tmp_path / "worker.hand") is None
