"""A lone request at temperature 0, or with a seed, has the same logits each time, whatever was computed before."""

from __future__ import annotations

from itertools import pairwise

import pytest

from localai_flask.backends.llama_cpp.model.library import spin_switch
from localai_flask.backends.llama_cpp.scheduling.grain import LEAST, Grain
from localai_flask.backends.llama_cpp.threads.waiting import WaitChoice
from localai_flask.generation import Delta
from tests.support.gguf_models import random_gemma3

TEXT = "The history of the lighthouse begins in the ancient world, where fires on hills guided ships home. " * 2
"""About two hundred tokens of the tiny models, of which each has one character."""
PROMPT = TEXT[:150]


def listen(engine, **sampling):
    """Return all that is told of the chances of an answer's tokens."""
    job = engine.generate(PROMPT, max_tokens=4, top_logprobs=5, **sampling)
    return [token for delta in engine.of(job, Delta) for token in delta.logprobs], job


def beside_others(engine):
    for length in (150, 140, 120):
        engine.submit(PROMPT[:length], max_tokens=6)
        engine.step()
    engine.run()


HISTORIES = {
    "itself": lambda engine: engine.generate(PROMPT, max_tokens=3),
    "another": lambda engine: engine.generate("Lighthouses. " + TEXT[:37], max_tokens=7),
    "a part of it": lambda engine: engine.generate(PROMPT[:101], max_tokens=5),
    "more than it": lambda engine: engine.generate(TEXT[:190], max_tokens=5),
    "others beside it": beside_others,
    "one to which chance is dear": lambda engine: engine.generate(PROMPT[:77], max_tokens=9, temperature=1.0),
}


@pytest.mark.parametrize("flash", ["off", "on"])
@pytest.mark.parametrize("name", ["llama", "window"])
def test_a_lone_request_depends_on_no_history(open_engine, gguf, tmp_path, name, flash):
    gguf.setdefault("window", random_gemma3(tmp_path / "window.gguf", window=64))
    engine = open_engine(name, "parallel:3", flash_attention=flash)
    expected, _ = listen(engine)
    for what, bring_about in [*HISTORIES.items(), *reversed(HISTORIES.items())]:
        bring_about(engine)
        heard, _ = listen(engine)
        assert heard == expected, what
    engine.check_books()


@pytest.mark.parametrize(("flash", "cached"), [("off", 144), ("on", 128)])
def test_it_starts_from_what_it_has_computed_alone(open_engine, flash, cached):
    engine = open_engine(flash_attention=flash)
    listen(engine)
    _, again = listen(engine, seed=1, temperature=0.8)
    assert again.num_cached == cached
    engine.generate("Something else that takes the first cells of the cache.")
    _, stored = listen(engine)
    assert stored.num_cached == again.num_cached


@pytest.mark.parametrize("flash", ["off", "on"])
def test_a_slow_machine_cuts_a_prompt_elsewhere_and_changes_nothing(open_engine, flash):
    engine = open_engine(flash_attention=flash)
    expected, _ = listen(engine, cache_prompt=False)
    for seconds in (0.001, 0.01, 1.0):
        engine.backend.scheduler._pace.observe(100, 0, 100 * seconds)
        assert listen(engine, cache_prompt=False)[0] == expected


@pytest.mark.parametrize("flash", [True, False])
def test_a_prompt_is_cut_at_multiples_into_parts_that_are_large_enough(flash):
    grain = Grain.of(128, flash=flash)
    assert grain is not None
    for length in (1, 2, 15, 16, 17, 18, 63, 64, 65, 127, 128, 129, 130, 150, 191, 192, 193, 500):
        for budget in (1, 40, 100, 4096):
            cuts = [0]
            while cuts[-1] < length:
                cuts.append(grain.end(cuts[-1], budget, length))
            assert cuts[-1] == length
            assert all(cut % grain.step == 0 for cut in cuts[:-1])
            assert length == 1 or all(b - a >= LEAST for a, b in pairwise(cuts))
            assert all(b - a <= grain.most for a, b in pairwise(cuts))
            assert grain.floor(length, length) in (0, *cuts) or not (flash or budget == 1)


def test_a_context_that_computes_too_few_tokens_at_once_has_no_grain():
    assert Grain.of(64, flash=True) is None
    assert Grain.of(8, flash=False) is None


@pytest.mark.skipif(spin_switch is None, reason="threads always wait in the same way")
def test_a_lone_request_keeps_its_number_of_threads_however_they_wait(open_engine, monkeypatch):
    engine = open_engine(flash_attention="on")
    model, counts = engine.backend.model, []
    compute = model.compute
    monkeypatch.setattr(model, "compute", lambda batch, threads: [counts.append(threads), compute(batch, threads)])
    monkeypatch.setattr(model.threads, "wait", WaitChoice(spins=False))
    model.threads.decoding_alone = 2
    model.threads.decoding = model.threads.prompts = 1

    engine.generate("abc", max_tokens=3, temperature=1.0)
    assert set(counts) == {1}
    counts.clear()
    engine.generate("abc", max_tokens=3)
    assert counts[-2:] == [2, 2]
