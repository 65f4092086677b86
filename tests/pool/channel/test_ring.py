"""The ring's arithmetic and the joining of chunks, in one process and with a ring so small that it wraps often."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localai_flask.pool.channel import ring

RING_BYTES = 256
CHUNK_BYTES = 64


class Ends:
    """Both ends of one ring."""

    def __init__(self, published: int, freed: int):
        self.memory = bytearray(RING_BYTES)
        self.published, self.freed = published, freed
        self.writer = ring.RingWriter(memoryview(self.memory), published, freed)
        self.reader = ring.RingReader(memoryview(self.memory), published, freed)


@contextlib.contextmanager
def ends() -> Iterator[Ends]:
    counters = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(2)]
    try:
        with mock.patch.object(ring, "CHUNK_BYTES", CHUNK_BYTES):
            yield Ends(*counters)
    finally:
        for counter in counters:
            os.close(counter)


@given(st.lists(st.one_of(st.integers(0, CHUNK_BYTES), st.none()), max_size=120))
def test_frames_come_out_as_they_went_in_whatever_their_sizes(steps: list[int | None]) -> None:
    """None takes everything out; a number is the length of the next chunk, which is left out if there is no room."""
    with ends() as link:
        sent, got, used = [], [], 0
        for step in [*steps, None]:
            if step is None:
                got += link.reader.take()
                used = 0
            elif link.writer.has_room(step):
                frame = (ring.WHOLE, os.urandom(step))
                link.writer.write(*frame)
                sent.append(frame)
                used += ring.frame_bytes(step)
            else:
                assert used + ring.frame_bytes(step) > RING_BYTES, "refused although there was room"
            assert used <= RING_BYTES, "accepted more than the ring holds"
        assert got == sent


@given(st.lists(st.binary(max_size=5 * CHUNK_BYTES), max_size=8))
def test_chunks_are_joined_to_messages(messages: list[bytes]) -> None:
    with ends() as link:
        assembler = ring.Assembler()
        got = []
        for message in messages:
            whole = len(message) <= CHUNK_BYTES
            for frame in [(ring.WHOLE, message)] if whole else ring.split(message):
                if not link.writer.has_room(len(frame[1])):
                    got += [assembler.add(*taken) for taken in link.reader.take()]
                    assert link.writer.has_room(len(frame[1]))
                link.writer.write(*frame)
        got += [assembler.add(*taken) for taken in link.reader.take()]
        assert [message for message in got if message is not None] == messages


@given(st.binary(min_size=RING_BYTES, max_size=RING_BYTES), st.integers(1, 2 * RING_BYTES))
def test_a_hostile_writer_gets_an_error_and_nothing_else(content: bytes, published: int) -> None:
    with ends() as link:
        link.memory[:] = content
        os.eventfd_write(link.published, published)
        assembler = ring.Assembler()
        with contextlib.suppress(ring.ProtocolError):
            for frame in link.reader.take():
                assembler.add(*frame)


@pytest.mark.parametrize(
    ("length", "published"), [(CHUNK_BYTES + 1, RING_BYTES), (0, 1 << 40), (2**32 - 1, RING_BYTES)]
)
def test_impossible_lengths_are_caught(length: int, published: int) -> None:
    with ends() as link:
        ring.HEADER.pack_into(link.memory, 0, length, ring.WHOLE)
        os.eventfd_write(link.published, published)
        with pytest.raises(ring.ProtocolError):
            link.reader.take()


def test_a_reader_that_frees_more_than_there_is_is_caught() -> None:
    with ends() as link:
        while link.writer.has_room(CHUNK_BYTES):
            link.writer.write(ring.WHOLE, bytes(CHUNK_BYTES))
        os.eventfd_write(link.freed, RING_BYTES + 1)
        with pytest.raises(ring.ProtocolError, match="freed"):
            link.writer.has_room(CHUNK_BYTES)


@pytest.mark.parametrize("counter", ["published", "freed"])
def test_a_jammed_counter_is_an_error_and_not_a_wait(counter: str) -> None:
    with ends() as link:
        if counter == "freed":
            link.writer.write(ring.WHOLE, b"x")
        os.eventfd_write(getattr(link, counter), 2**64 - 2)
        with pytest.raises(ring.ProtocolError, match="counter"):
            link.writer.write(ring.WHOLE, b"x") if counter == "published" else link.reader.take()


def test_a_message_may_not_grow_past_the_limit() -> None:
    assembler = ring.Assembler()
    with mock.patch.object(ring, "MAX_MESSAGE_BYTES", 100):
        assert assembler.add(ring.PART, bytes(60)) is None
        with pytest.raises(ring.ProtocolError, match="more than 100 bytes"):
            assembler.add(ring.LAST, bytes(60))


@pytest.mark.parametrize("marks", [[ring.LAST], [ring.PART, ring.WHOLE], [3]])
def test_a_frame_out_of_place_breaks_the_rules(marks: list[int]) -> None:
    assembler = ring.Assembler()
    with pytest.raises(ring.ProtocolError, match="out of place"):
        for mark in marks:
            assembler.add(mark, b"x")
