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
                frame = (ring.WHOLE, len(sent), os.urandom(step))
                link.writer.write(*frame)
                sent.append(frame)
                used += ring.frame_bytes(step)
            else:
                assert used + ring.frame_bytes(step) > RING_BYTES, "refused although there was room"
            assert used <= RING_BYTES, "accepted more than the ring holds"
        assert got == sent


@given(
    st.lists(st.binary(min_size=CHUNK_BYTES + 1, max_size=5 * CHUNK_BYTES), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
    st.sets(st.integers(0, 4)),
)
def test_interleaved_messages_are_joined_and_aborted_ones_forgotten(messages, random, aborted) -> None:  # type: ignore[no-untyped-def]
    with ends() as link:
        assembler = ring.Assembler()
        queues = [ring.split(message, number) for number, message in enumerate(messages)]
        for number in aborted & set(range(len(messages))):
            queues[number][-1] = (ring.ABORT, number, b"")
        got = []
        while any(queues):
            frame = random.choice([queue for queue in queues if queue]).pop(0)
            if not link.writer.has_room(len(frame[2])):
                got += [assembler.add(*taken) for taken in link.reader.take()]
                assert link.writer.has_room(len(frame[2]))
            link.writer.write(*frame)
        got += [assembler.add(*taken) for taken in link.reader.take()]
        wanted = [message for number, message in enumerate(messages) if number not in aborted]
        assert sorted(filter(None, got)) == sorted(wanted)
        assert not assembler._unfinished and not assembler._lengths


@given(st.binary(min_size=RING_BYTES, max_size=RING_BYTES), st.integers(1, 2 * RING_BYTES))
def test_a_hostile_writer_gets_an_error_and_nothing_else(content: bytes, published: int) -> None:
    with ends() as link:
        link.memory[:] = content
        os.eventfd_write(link.published, published)
        assembler = ring.Assembler()
        with contextlib.suppress(ring.ProtocolError):
            for mark, number, chunk in link.reader.take():
                if mark != ring.WHOLE:
                    assembler.add(mark, number, chunk)


@pytest.mark.parametrize(
    ("length", "published"), [(CHUNK_BYTES + 1, RING_BYTES), (0, 1 << 40), (2**32 - 1, RING_BYTES)]
)
def test_impossible_lengths_are_caught(length: int, published: int) -> None:
    with ends() as link:
        ring.HEADER.pack_into(link.memory, 0, length, ring.WHOLE, 0)
        os.eventfd_write(link.published, published)
        with pytest.raises(ring.ProtocolError):
            link.reader.take()


def test_a_reader_that_frees_more_than_there_is_is_caught() -> None:
    with ends() as link:
        while link.writer.has_room(CHUNK_BYTES):
            link.writer.write(ring.WHOLE, 0, bytes(CHUNK_BYTES))
        os.eventfd_write(link.freed, RING_BYTES + 1)
        with pytest.raises(ring.ProtocolError, match="freed"):
            link.writer.has_room(CHUNK_BYTES)


@pytest.mark.parametrize("counter", ["published", "freed"])
def test_a_jammed_counter_is_an_error_and_not_a_wait(counter: str) -> None:
    with ends() as link:
        if counter == "freed":
            link.writer.write(ring.WHOLE, 0, b"x")
        os.eventfd_write(getattr(link, counter), 2**64 - 2)
        with pytest.raises(ring.ProtocolError, match="counter"):
            link.writer.write(ring.WHOLE, 0, b"x") if counter == "published" else link.reader.take()


def test_a_message_may_not_grow_past_the_limit_nor_too_many_be_half_sent() -> None:
    assembler = ring.Assembler()
    with mock.patch.object(ring, "MAX_MESSAGE_BYTES", 100), mock.patch.object(ring, "MAX_UNFINISHED", 2):
        assert assembler.add(ring.PART, 1, bytes(60)) is None
        with pytest.raises(ring.ProtocolError, match="more than 100 bytes"):
            assembler.add(ring.LAST, 1, bytes(60))
        assembler.add(ring.PART, 2, b"x")
        with pytest.raises(ring.ProtocolError, match="half sent"):
            assembler.add(ring.PART, 3, b"x")
