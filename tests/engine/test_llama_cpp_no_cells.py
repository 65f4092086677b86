"""A batch for which the cache has no room is tried again, smaller or after others, and is no end to all."""

from __future__ import annotations

import pytest

from localai_flask.backends.llama_cpp.model.library import NO_CELLS, lib
from localai_flask.generation import Failed, Finished

PROMPTS = ("The history of the lighthouse begins " * 3, "in the ancient world, where fires " * 3)


class Cells:
    """Lets the library refuse batches of more than `most` tokens, as it does where it finds no room for them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.most = 1 << 20
        self.refused: list[int] = []
        self._decode = lib.llama_decode
        monkeypatch.setattr(lib, "llama_decode", self.decode)

    def decode(self, context, batch):
        if batch.n_tokens > self.most:
            self.refused.append(batch.n_tokens)
            return NO_CELLS
        return self._decode(context, batch)


@pytest.fixture
def cells(monkeypatch) -> Cells:
    return Cells(monkeypatch)


def test_idle_branches_leave_for_a_batch_that_does_not_fit(open_engine, cells):
    engine = open_engine("llama", "parallel:2")
    engine.generate("An idle branch that lies in the cache.", max_tokens=2)
    cells.most = 30
    job = engine.submit(PROMPTS[0], max_tokens=3, temperature=1.0)
    engine.step()
    assert [slot.length for slot in engine.backend.cache.slots if not slot.in_use and slot.length] == []
    assert len(cells.refused) == 1
    cells.most = 1 << 20
    engine.run()
    assert engine.of(job, Finished)
    engine.check_books()


def test_a_prompt_goes_on_in_smaller_pieces(open_engine, cells):
    engine = open_engine("llama", "parallel:2")
    cells.most = 20
    jobs = [engine.submit(prompt, max_tokens=5) for prompt in PROMPTS]
    engine.run()
    assert all(engine.of(job, Finished) for job in jobs)
    assert cells.refused
    cells.refused.clear()
    cells.most = 1 << 20
    engine.generate("w" * 90, max_tokens=1)
    assert not cells.refused
    engine.check_books()


def test_who_came_last_ends_where_nothing_else_helps(open_engine, cells):
    engine = open_engine("llama", "parallel:2")
    first = engine.submit(PROMPTS[0], max_tokens=20)
    engine.step(2)
    second = engine.submit(PROMPTS[1], max_tokens=40)
    engine.step(6)
    assert len(engine.backend.scheduler.decoding) == 2
    cells.most = 1
    engine.run()
    assert engine.end(first).usage.completion_tokens == 20
    assert [reply.error.status for reply in engine.of(second, Failed)] == [503]
    engine.check_books()
