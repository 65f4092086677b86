"""Programs spoken to over HTTP: a real llama-server beside the library, and a fake one in the words of forks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localai_flask.backends import create
from localai_flask.backends.llama_server.engine import LlamaServerBackend
from localai_flask.backends.llama_server.sequence import UNSEEN
from localai_flask.config.blocks import ModelFile
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ContextOverflow, ModelLoadFailed
from localai_flask.generation import Constraint, FinishReason, Prompt, Started
from localai_flask.inquiry import Detokenize, Embed, Tokenize
from tests.support.fake_llama_server import write_program
from tests.support.llama_server import need_llama_server
from tests.support.served import Served

Open = Callable[..., Served]
PROMPT = [1, 40, 41, 42, 43, 44, 45]


@contextmanager
def opened(path: Path, backend: str = "llama-server", **keys: Any) -> Iterator[Served]:
    config = EngineConfig(
        name="tiny",
        backend=backend,
        models_path=str(path.parent),
        parameters=ModelFile(model=path.name),
        **{"context_size": 128, **keys},
    )
    engine = create(backend)
    engine.info = engine.load(config, lambda fraction: None)  # type: ignore[attr-defined]
    try:
        yield Served(engine)
    finally:
        engine.close()


def pid_of(served: Served) -> int:
    assert isinstance(served.backend, LlamaServerBackend)
    return served.backend.program.pid


@pytest.fixture(scope="module")
def real(gguf: dict[str, Path]) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOCALAI_LLAMA_SERVER", str(need_llama_server()))
        with opened(gguf["llama"], f16=False) as served:
            yield served


@pytest.fixture(scope="module")
def beside(gguf: dict[str, Path]) -> Iterator[Any]:
    """The library itself, with the same model."""
    from tests.engine.conftest import load_engine

    engine = load_engine(gguf["llama"], context_size=128, f16=False)
    yield engine
    engine.backend.close()


# The real program.


def test_greedy_text_tokens_and_logprobs_are_the_librarys(real: Served, beside: Any) -> None:
    ours = real.generate(PROMPT, max_tokens=12, top_logprobs=2, ignore_eos=True)
    theirs = beside.generate(PROMPT, max_tokens=12, top_logprobs=2, ignore_eos=True)
    assert real.text(ours) == beside.text(theirs)
    seen = [at for at, token in enumerate(ours.output_tokens) if token != UNSEEN]
    assert [ours.output_tokens[at] for at in seen] == [theirs.output_tokens[at] for at in seen]
    assert len(ours.output_tokens) == len(theirs.output_tokens)
    assert len(seen) >= 8
    told = [each for reply in real.replies[ours.id] for each in getattr(reply, "logprobs", [])]
    expected = [each for reply in beside.replies[theirs.id] for each in getattr(reply, "logprobs", [])]
    assert [each.id for each in told] == [expected[at].id for at in seen]
    assert [each.logprob for each in told] == pytest.approx([expected[at].logprob for at in seen], abs=0.01)
    assert [len(each.top) for each in told] == [2] * len(told)
    assert real.end(ours).reason is FinishReason.MAX_TOKENS
    assert real.end(ours).usage == beside.end(theirs).usage


def test_a_repeated_prompt_is_found_in_the_cache_unless_that_is_off(real: Served) -> None:
    prompt = [1, *range(50, 80)]
    real.generate(prompt, max_tokens=2)
    again = real.generate(prompt, max_tokens=2)
    assert real.end(again).usage.cached_tokens == len(prompt) - 1
    (started,) = (reply for reply in real.replies[again.id] if isinstance(reply, Started))
    assert started.cached_tokens == len(prompt) - 1
    fresh = real.generate(prompt, max_tokens=2, cache_prompt=False)
    assert real.end(fresh).usage.cached_tokens == 0


def test_a_seed_repeats_an_answer_and_no_seed_does_not(real: Served) -> None:
    wish = {"temperature": 2.0, "top_k": 0, "top_p": 1.0, "max_tokens": 10, "ignore_eos": True}
    same = [real.generate(PROMPT, seed=7, **wish).output_tokens for _ in range(2)]
    assert same[0] == same[1]
    assert len({tuple(real.generate(PROMPT, **wish).output_tokens) for _ in range(3)}) > 1


def test_stop_strings_and_stop_tokens_cut_the_answer(real: Served) -> None:
    whole = real.generate(PROMPT, max_tokens=12, ignore_eos=True)
    text = real.text(whole)
    stop = text[3:5]
    cut = real.generate(PROMPT, max_tokens=12, ignore_eos=True, stop=(stop,))
    assert real.text(cut) == text[: text.index(stop)]
    assert real.end(cut).stop_sequence == stop
    token = whole.output_tokens[4]
    ended = real.generate(PROMPT, max_tokens=12, ignore_eos=True, stop_token_ids=(token,))
    assert ended.output_tokens == whole.output_tokens[: whole.output_tokens.index(token) + 1]
    assert real.end(ended).reason is FinishReason.EOS


def test_a_bias_and_a_form_reach_the_choice(real: Served) -> None:
    forced = real.generate(PROMPT, max_tokens=3, logit_bias={42: 100.0})
    assert forced.output_tokens == [42, 42, 42]
    grammar = Constraint("gbnf", 'root ::= "a" "b" "a"', "grammar")
    assert real.text(real.generate(PROMPT, constraint=grammar, max_tokens=20)) == "aba"
    schema = Constraint("json_schema", '{"enum": ["ab"]}', "response_format")
    assert real.text(real.generate(PROMPT, constraint=schema, max_tokens=20)).strip() == '"ab"'


def test_a_form_that_the_program_cannot_read_is_the_requests_fault(real: Served) -> None:
    broken = real.generate(PROMPT, constraint=Constraint("gbnf", "root ::= (", "grammar"))
    info = real.failure(broken).error
    assert (info.status, info.code) == (400, "invalid_request")
    assert info.message.startswith("The program of model tiny refuses the request: ")


def test_more_than_there_are_slots_run_side_by_side_and_are_what_each_is_alone(real: Served) -> None:
    prompts = [[1, 40 + number, 50, 51] for number in range(4)]
    alone = [real.generate(prompt, max_tokens=8, ignore_eos=True).output_tokens for prompt in prompts]
    jobs = [real.start(prompt, max_tokens=8, ignore_eos=True) for prompt in prompts]
    assert real.backend.room == 0
    real.run()
    assert [job.output_tokens for job in jobs] == alone
    assert real.backend.room == 4


def test_a_cancelled_job_says_nothing_more_and_its_slot_is_free_at_once(real: Served) -> None:
    jobs = [real.start(PROMPT, max_tokens=100, ignore_eos=True) for _ in range(4)]
    real.step()
    for job in jobs:
        real.backend.cancel(job.id)
        real.replies[job.id].clear()
    after = real.generate(PROMPT, max_tokens=4, ignore_eos=True)
    assert len(after.output_tokens) == 4
    assert not any(real.replies[job.id] for job in jobs)


def test_a_prompt_that_does_not_fit_is_refused_before_it_waits(real: Served) -> None:
    with pytest.raises(ContextOverflow, match="maximum context length is 128 tokens, but the prompt has 130"):
        real.start([1] * 130)
    full = real.generate([1] * 120, max_tokens=50, ignore_eos=True)
    assert real.end(full).reason is FinishReason.CONTEXT
    assert len(full.output_tokens) == 8


def test_tokens_and_their_text_are_the_librarys(real: Served, beside: Any) -> None:
    text, asked = "ab cd", Tokenize(Prompt("ab cd"), pieces=True)
    tokenized, expected = real.ask(asked), beside.backend.ask(_inquiry(asked))
    assert tokenized == expected
    assert real.ask(Detokenize(tokenized.tokens[-2:])).text == text[-2:]


def test_markers_in_a_plain_part_are_text(real: Served) -> None:
    name = real.backend.info.control_tokens[0]  # type: ignore[attr-defined]
    marked = real.start(Prompt(f"a{name}b", add_bos=False), max_tokens=1).prompt_tokens
    plain = real.start(Prompt(f"a{name}b", add_bos=False, plain=[(0, len(name) + 2)]), max_tokens=1).prompt_tokens
    real.run()
    assert len(marked) == 3
    assert len(plain) > 3


def test_vectors_are_the_librarys(gguf: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.engine.conftest import load_engine

    monkeypatch.setenv("LOCALAI_LLAMA_SERVER", str(need_llama_server()))
    library = load_engine(gguf["llama"], context_size=128, f16=False, embeddings=True)
    expected = library.backend.ask(_inquiry(Embed(Prompt("abcdef"))))
    if expected is None:
        library.backend.start_inquiry(_inquiry(Embed(Prompt("abcdef"))))
        ((_, expected),) = library.backend.step()
    library.backend.close()
    with opened(gguf["llama"], f16=False, embeddings=True) as served:
        assert served.backend.info.capabilities == {"embed", "tokenize"}  # type: ignore[attr-defined]
        embedded = served.ask(Embed(Prompt("abcdef")))
        assert embedded.tokens == expected.tokens
        ours, theirs = (np.frombuffer(each.data, np.float32) for each in (embedded, expected))
        assert float(ours @ theirs) == pytest.approx(1.0, abs=1e-3)
        too_long = served.ask(Embed(Prompt("ab" * 200)))
        assert too_long.error.code == "context_length_exceeded"
        assert served.ask(Embed(Prompt("ab" * 200), cut_to=20)).tokens == 20


def test_a_broken_file_is_told_before_the_program_starts(
    tmp_path: Path, gguf: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALAI_LLAMA_SERVER", str(write_program(tmp_path / "server")))
    (tmp_path / "cut.gguf").write_bytes(gguf["llama"].read_bytes()[:2000])
    with pytest.raises(ConfigError, match="is cut off"), opened(tmp_path / "cut.gguf"):
        pass


# The fake one, in the words of the stock program and of an older fork.


@pytest.fixture(params=["stock", "fork"])
def fake(
    request: pytest.FixtureRequest, tmp_path: Path, gguf: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Served]:
    monkeypatch.setenv("LOCALAI_TURBOQUANT_SERVER", str(write_program(tmp_path / "server", request.param)))
    with opened(gguf["llama"], "turboquant", cache_type_k="turbo3", options=("parallel:2",)) as served:
        yield served


def test_either_dialect_is_read(fake: Served) -> None:
    job = fake.generate("abcdef", max_tokens=4)
    assert fake.text(job) == "abcd"
    assert fake.end(job).reason is FinishReason.MAX_TOKENS
    assert fake.end(job).usage.completion_tokens == 4
    whole = fake.generate("abc", max_tokens=40)
    assert (fake.text(whole), fake.end(whole).reason) == ("abc", FinishReason.EOS)
    assert fake.text(fake.generate("abcdef", stop=("de",))) == "abc"


def test_a_marker_in_a_plain_part_is_text_even_where_the_program_reads_it(fake: Served, tmp_path: Path) -> None:
    served = fake.backend
    assert isinstance(served, LlamaServerBackend)
    served.program.http.begin(served.tokens.look(["<|im_end|>"])).result()
    text = "x<|im_end|>y"
    assert 256 in fake.start(Prompt(text), max_tokens=1).prompt_tokens
    assert 256 not in fake.start(Prompt(text, plain=[(0, len(text))]), max_tokens=1).prompt_tokens
    fake.run()


def test_a_program_that_dies_fails_its_jobs_and_then_the_backend(fake: Served) -> None:
    other = fake.start("slow and steady, a long text that takes its time")
    job = fake.start("die in the middle")
    fake.run()
    for each in (job, other):
        info = fake.failure(each).error
        assert info.code == "model_worker_died"
        assert info.message == "The program of model tiny ended (exit status 9); it is started again."
    with pytest.raises(RuntimeError, match="the program of model tiny ended"):
        fake.step()


def test_an_answer_that_breaks_off_fails_its_job_alone(fake: Served) -> None:
    other, job = fake.start("slow and steady"), fake.start("break off here")
    fake.run()
    assert fake.failure(job).error.status == 503
    assert fake.text(other) == "slow and steady"


def test_the_program_ends_with_its_worker_however_that_ends(
    tmp_path: Path, gguf: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALAI_LLAMA_SERVER", str(write_program(tmp_path / "server")))
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tests.engine.test_llama_server import opened, pid_of\n"
        "with opened(Path(sys.argv[1])) as served:\n    print(pid_of(served), flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(gguf["llama"])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        program = os.pidfd_open(int(worker.stdout.readline()))
        worker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            signal.pidfd_send_signal(program, 0)
        except ProcessLookupError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the program outlives its worker")
    os.close(program)


def test_a_program_that_ends_while_it_loads_is_told_with_its_exit(
    tmp_path: Path, gguf: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "server"
    program.write_text('#!/bin/sh\n[ "$1" = --help ] && echo "--model FNAME" || exit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("LOCALAI_LLAMA_SERVER", str(program))
    with pytest.raises(ModelLoadFailed, match=r"could not load it and ended \(exit status 3\)"), opened(gguf["llama"]):
        pass


def _inquiry(question: Any) -> Any:
    from localai_flask.backends.base import Inquiry

    return Inquiry(1, question)
