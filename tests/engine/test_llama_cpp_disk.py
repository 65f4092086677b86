"""Prompts on disk: there for the next process, for another one beside, and harmless when something is wrong."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from tests.engine.conftest import load_engine

pytestmark = pytest.mark.usefixtures("hardly_repeatable")

GREEDY = {"max_tokens": 20, "ignore_eos": True}
TEXT = "".join(chr(33 + i * i % 90) for i in range(1500))
KINDS = ("llama", "gemma3", "mamba", "rwkv7", "jamba")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Return where prompts are kept; a branch is written as soon as it is idle."""
    monkeypatch.setenv("LOCALAI_PROMPT_CACHE_SIZE", "1GB")
    monkeypatch.setenv("LOCALAI_PROMPT_CACHE_PATH", str(tmp_path / "prompts"))
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.transfer.SETTLED_S", 0.0)
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.disk_cache.LOOK_S", 0.0)
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.disk_cache.SPARED_BYTES", 0)
    return tmp_path / "prompts"


@pytest.fixture
def launch(open_engine, folder):
    """Load a model as a process would that has just begun."""
    return lambda model="llama", *options, **config: open_engine(
        model, "parallel:2", "warmup:false", *options, **{"context_size": 2048, **config}
    )


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kv"))


def blocks(engine) -> list[tuple[int, int]]:
    return sorted((block.begin, block.end) for block in engine.backend.cache.disk.disk.tree.blocks.values())


@pytest.mark.parametrize("model", KINDS)
def test_a_conversation_goes_on_after_a_crash(launch, folder, model):
    engine = launch(model)
    first = engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    prompt = first.prompt_tokens + first.output_tokens + [300, 301, 302]
    again = launch(model)  # nobody has closed the other one
    second = again.generate(prompt, **GREEDY)
    again.check_books()

    assert second.num_cached == len(prompt) - 4
    assert second.output_tokens == launch(model, "cache_disk:0").generate(prompt, **GREEDY).output_tokens
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files(folder))
    assert all(stat.S_IMODE(each.stat().st_mode) == 0o700 for each in (folder, *folder.iterdir()))


@pytest.mark.parametrize("model", KINDS)
def test_a_prompt_that_differs_starts_from_what_is_alike(launch, model):
    engine = launch(model)
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    again, prompt = launch(model), TEXT[:700] + "~ and another end"
    job = again.generate(prompt, **GREEDY)
    again.check_books()

    assert 200 < job.num_cached <= 701
    assert job.output_tokens == launch(model, "cache_disk:0").generate(prompt, **GREEDY).output_tokens


@pytest.mark.parametrize("model", ["llama", "gemma3", "jamba"])
def test_lone_requests_come_out_the_same_from_disk(launch, model, monkeypatch):
    engine = launch(model)
    engine.temperature = 0.0
    first = engine.generate(TEXT[:900], **GREEDY)
    engine.rest()
    prompt = first.prompt_tokens + first.output_tokens + [300, 301, 302]
    again, fresh = launch(model), launch(model, "cache_disk:0")
    again.temperature = fresh.temperature = 0.0
    job = again.generate(prompt, **GREEDY)

    assert job.num_cached > 800
    assert job.output_tokens == fresh.generate(prompt, **GREEDY).output_tokens


def test_only_what_is_new_is_written(launch, folder):
    engine = launch()
    job = engine.generate(TEXT[:600], **GREEDY)
    engine.rest()
    before = {file: file.stat().st_mtime_ns for file in files(folder)}
    assert blocks(engine) == [(0, 512), (512, 620)]
    engine.generate(job.prompt_tokens + job.output_tokens + list(range(40, 340)) + list(range(40, 240)), **GREEDY)
    engine.rest()

    assert blocks(engine) == [(0, 512), (512, 1024), (1024, 1140)]
    assert len(files(folder)) == 3 and len(before.keys() & set(files(folder))) == 1


def test_a_branch_that_left_the_cache_is_written_from_host_memory(launch):
    engine = launch(context_size=512)
    for letter in "abcdefghijklmnopqrstuv":
        engine.generate(letter * 400, **GREEDY)
    assert engine.backend.cache.store.entries
    engine.rest()
    again = launch(context_size=512)
    assert [again.generate(letter * 400, **GREEDY).num_cached for letter in "agv"] == [400] * 3


def test_what_is_not_written_when_an_engine_ends_is_written_then(launch, monkeypatch):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.transfer.SETTLED_S", 3600.0)
    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.step(3)
    assert blocks(engine) == []
    engine.backend.close()
    engine.backend.close = lambda: None
    assert launch().generate(TEXT[:1000], **GREEDY).num_cached == 1000


def test_another_replica_finds_what_was_written_beside_it(launch):
    one, other = launch(), launch()
    other.generate("b" * 100, **GREEDY)
    one.generate(TEXT[:1000], **GREEDY)
    one.rest()
    assert other.generate(TEXT[:1000], **GREEDY).num_cached == 1000
    for file in one.backend.cache.disk.disk.tree.blocks.values():
        file.file.unlink()
    third = launch()
    assert third.generate(TEXT[:1000], **GREEDY).num_cached == 0


def cut_off(file: Path) -> None:
    os.truncate(file, file.stat().st_size - 1)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def change_state(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)


def change_header(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [cut_off, empty, change_state, change_header])
@pytest.mark.parametrize("while_open", [False, True])
def test_a_broken_file_is_computed_anew_and_goes(launch, folder, harm, while_open):
    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    second = next(block.file for block in engine.backend.cache.disk.disk.tree.blocks.values() if block.begin)
    again = launch() if while_open else None
    harm(second)
    again = again or launch()
    job = again.generate(TEXT[:1000], **GREEDY)

    assert job.num_cached == 512
    assert job.output_tokens == launch("llama", "cache_disk:0").generate(TEXT[:1000], **GREEDY).output_tokens
    again.rest()
    assert blocks(again) == [(0, 512), (512, 1020)]
    assert launch().generate(TEXT[:1000], **GREEDY).num_cached == 1000


def test_another_model_under_the_same_name_starts_anew(launch, folder, gguf, tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf["llama"].read_bytes())
    one = load_engine(path, "warmup:false", context_size=2048)
    one.generate(TEXT[:1000], **GREEDY)
    one.rest()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the size stays
    path.unlink()
    path.write_bytes(content)
    other = load_engine(path, "warmup:false", context_size=2048)
    job = other.generate(TEXT[:1000], **GREEDY)
    left = files(folder)
    for engine in (one, other):
        engine.backend.close()

    assert job.num_cached == 0
    assert left == []  # what the other weights have computed is gone


@pytest.mark.parametrize("change", [{"f16": False}, {"rope_freq_base": 5000.0}, {"overrides": ("a=int:1",)}])
def test_what_changes_the_numbers_keeps_prompts_apart(launch, change):
    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    assert launch(**change).generate(TEXT[:1000], **GREEDY).num_cached == 0
    assert launch().generate(TEXT[:1000], **GREEDY).num_cached == 1000


def test_callers_do_not_share_what_is_on_disk(launch):
    engine = launch()
    engine.submit(TEXT[:1000], **GREEDY).caller = "one"
    engine.run()
    engine.rest()
    again = launch()
    other = again.generate(TEXT[:1000], **GREEDY)
    job = launch().submit(TEXT[:1000], **GREEDY)
    third = launch()
    job = third.submit(TEXT[:1000], **GREEDY)
    job.caller = "one"
    third.run()
    assert (other.num_cached, job.num_cached) == (0, 1000)


def test_the_bound_holds_and_the_least_used_goes_first(launch, folder, monkeypatch):
    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    size = sum(file.stat().st_size for file in files(folder))
    monkeypatch.setenv("LOCALAI_PROMPT_CACHE_SIZE", str(2 * size + 100))
    engine = launch()
    for letter in "ab":
        engine.generate(letter * 1000, **GREEDY)
        engine.rest()
    engine.backend.close()
    engine.backend.close = lambda: None
    assert sum(file.stat().st_size for file in files(folder)) <= 2 * size + 100
    again = launch(prompt_cache_ro=True)
    cached = [again.generate(prompt, **GREEDY).num_cached for prompt in (TEXT[:1000], "a" * 1000, "b" * 1000)]
    assert cached == [0, 1000, 1000]


def test_a_branch_beyond_the_bound_is_not_written_again_and_again(launch, folder, monkeypatch):
    monkeypatch.setenv("LOCALAI_PROMPT_CACHE_SIZE", "100000")
    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    engine.backend.cache.disk.disk.wait_written(1)
    assert blocks(engine) == [(0, 512)]


def test_a_full_disk_costs_nothing_but_a_warning(launch, folder, monkeypatch, caplog):
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.disk_cache.SPARED_BYTES", 1 << 60)
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.disk_cache.SPARED_PART", 1)
    engine = launch()
    first = engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    assert "would be left on the disk" in caplog.text and not files(folder)
    assert engine.generate(TEXT[:1000], **GREEDY).output_tokens == first.output_tokens


def test_a_folder_that_cannot_be_made_costs_nothing_but_a_warning(launch, folder, caplog):
    folder.write_text("a file")
    engine = launch()
    assert engine.backend.cache.disk is None
    assert len(engine.generate(TEXT[:1000], **GREEDY).output_tokens) == 20
    assert "no prompts are kept on disk" in caplog.text


def test_read_only_reads_and_writes_nothing(launch, folder):
    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    again = launch(prompt_cache_ro=True)
    assert again.generate(TEXT[:1000], **GREEDY).num_cached == 1000
    again.generate("a" * 1000, **GREEDY)
    again.rest()
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


def test_the_yaml_names_a_folder_of_the_models_folder(launch, gguf, folder, caplog):
    engine = launch(prompt_cache_path="kept/llama")
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    assert len(files(gguf["llama"].parent / "kept")) == 2 and not folder.exists()
    assert launch(prompt_cache_path="../elsewhere").backend.cache.disk is not None
    assert "`prompt_cache_path: ../elsewhere` leads out of the models folder" in caplog.text and folder.exists()


def test_old_files_and_remains_are_swept(launch, folder):
    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    ours = files(folder)[0].parent
    (ours / ".x.1.part").write_bytes(b"begun")
    strange = folder / "photos"
    strange.mkdir()
    for file in (*ours.iterdir(), strange):
        os.utime(file, (1, 1))
    launch()
    assert not files(folder) and not list(ours.glob(".*.part")) and strange.exists()


def test_a_prompt_waits_for_the_disk_and_others_pass(launch, monkeypatch):
    import threading

    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    again = launch()
    gate = threading.Event()
    read = again.backend.cache.disk.disk._read
    monkeypatch.setattr(again.backend.cache.disk.disk, "_read", lambda blocks: gate.wait(20) and read(blocks))
    kept = again.submit(TEXT[:1000], **GREEDY)
    other = again.submit("short", **GREEDY)
    again.step(30)
    assert len(other.output_tokens) == 20 and not kept.output_tokens
    gate.set()
    again.run()
    assert kept.num_cached == 1000


def test_a_disk_that_hangs_is_not_waited_for(launch, monkeypatch):
    import threading

    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    again = launch()
    monkeypatch.setattr("localai_flask.backends.llama_cpp.cache.disk.disk_cache.PATIENCE_S", 0.2)
    gate = threading.Event()
    monkeypatch.setattr(again.backend.cache.disk.disk, "_read", lambda blocks: gate.wait(20) and [])
    try:
        assert again.generate(TEXT[:1000], **GREEDY).num_cached == 0
    finally:
        gate.set()


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_a_disk_that_fails_is_not_felt(launch, monkeypatch, error):
    import time

    engine = launch()
    engine.generate(TEXT[:1000], **GREEDY)
    engine.rest()
    again = launch()

    def fail(_):
        time.sleep(0.2)  # so that somebody waits for it
        raise error

    monkeypatch.setattr(again.backend.cache.disk.disk, "_read", fail)
    sequence = again.generate(TEXT[:1000], **GREEDY)
    assert sequence.num_cached == 0 and len(sequence.output_tokens) == 20


def test_beside_streams_blocks_are_few_and_far_between(launch, monkeypatch):
    engine = launch()
    engine.generate(TEXT[:1400], **GREEDY)
    stream = engine.submit("s", max_tokens=400, ignore_eos=True)
    engine.step(3)
    begun = time.monotonic()
    while len(stream.output_tokens) < 390:
        engine.step()
    assert 1 <= len(blocks(engine)) <= 2 + (time.monotonic() - begun) / 0.5
