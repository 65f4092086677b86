"""Loading with the llama.cpp engine: what a model says about itself, and one sentence for what goes wrong."""

from __future__ import annotations

import logging
import re
import time

import pytest

from localai_flask.backends import create
from localai_flask.config.blocks import Parameters
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.machine import available_memory, physical_cores, total_memory
from tests.engine.conftest import load_engine
from tests.support import gguf_models as models


def refusal(path, *options, error=ConfigError, **config) -> str:
    """Load, which must fail within two seconds, and give the sentence."""
    begun = time.monotonic()
    with pytest.raises(error) as caught:
        load_engine(path, *options, **config)
    assert time.monotonic() - begun < 2
    sentence = str(caught.value)
    assert "\n" not in sentence and sentence.endswith((".", "?")) and len(sentence) < 400
    return sentence


def test_a_template_for_tools_is_found(tmp_path):
    models.random_llama(tmp_path / "a.gguf", tool_template="{{ tools }}")
    backend = create("llama-cpp")
    info = backend.load(
        ModelConfig(name="a", models_path=str(tmp_path), parameters=Parameters(model="a.gguf")), lambda fraction: None
    )
    backend.close()
    assert (info.chat_template, info.tool_template) == (models.CHAT_TEMPLATE, "{{ tools }}")


def test_info_is_filled(gguf):
    progress: list[float] = []
    config = ModelConfig(name="tiny", models_path=str(gguf["llama"].parent), parameters=Parameters(model="llama.gguf"))
    backend = create("llama-cpp")
    info = backend.load(config, progress.append)
    backend.close()

    assert (info.backend, info.context_length, info.trained_context) == ("llama-cpp", 4096, models.TRAINED_CONTEXT)
    assert re.fullmatch(r"\d+\.\d+\.\d+", info.engine_version)
    assert (info.bos_token, info.eos_token) == ("<s>", "<|im_end|>")
    assert (info.chat_template, info.tool_template) == (models.CHAT_TEMPLATE, None)
    cells = 16 * 4096  # slots × context; two layers, keys and values, two heads of eight, two bytes
    assert info.memory_bytes == pytest.approx(backend.model.weight_bytes + cells * 2 * 2 * 16 * 2, rel=0.01)
    assert progress == sorted(progress) and progress[-1] == 1.0


def test_f16_false_doubles_the_cache(gguf):
    half, full = (load_engine(gguf["llama"], "parallel:4", context_size=8192, f16=f16) for f16 in (None, False))
    caches = [engine.backend.model.memory_bytes - engine.backend.model.weight_bytes for engine in (half, full)]
    assert caches == [4 << 20, 8 << 20]
    assert full.generate("abc", max_tokens=8, ignore_eos=True).output_tokens == (
        half.generate("abc", max_tokens=8, ignore_eos=True).output_tokens
    )
    for engine in (half, full):
        engine.backend.close()


@pytest.mark.parametrize("how", [{"mmap": True}, {"mmap": False}, {"mmap": True, "mmlock": False}, {"gpu_layers": 0}])
def test_ways_of_loading(gguf, how):
    engine = load_engine(gguf["llama"], **how)
    assert engine.end(engine.generate("abc", max_tokens=4))
    engine.backend.close()


def test_yaml_and_environment_choose_context_and_threads(gguf, monkeypatch):
    monkeypatch.setenv("LOCALAI_CONTEXT_SIZE", "300")
    monkeypatch.setenv("LOCALAI_THREADS", "3")
    by_environment = load_engine(gguf["llama"], "parallel:2", context_size=None).backend
    by_yaml = load_engine(gguf["llama"], "n_parallel:3", "threads_batch:2", context_size=200, threads=1).backend
    all_cores = load_engine(gguf["llama"], "threads_batch:0", threads=1).backend

    assert (by_environment.model.context_size, by_environment.model.slots) == (300, 2)
    assert (by_environment.model.threads.decoding, by_environment.model.threads.prompts) == (3, 3)
    assert (by_yaml.model.context_size, by_yaml.model.slots) == (200, 3)
    assert (by_yaml.model.threads.decoding, by_yaml.model.threads.prompts) == (1, 2)
    assert (all_cores.model.threads.decoding, all_cores.model.threads.prompts) == (1, physical_cores())
    for backend in (by_environment, by_yaml, all_cores):
        backend.close()


def test_files_that_are_no_model(tmp_path, gguf):
    whole = gguf["llama"].read_bytes()

    def written(name, data):
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    assert "no.gguf does not exist" in refusal(tmp_path / "no.gguf")
    assert "is not a GGUF file" in refusal(written("text.gguf", b"hello world, this is not a model"))
    assert "is cut off" in refusal(written("short.gguf", whole[: len(whole) // 2]))
    assert "is cut off" in refusal(written("head.gguf", whole[:100]))
    assert "empty" in refusal(written("empty.gguf", b""))


def test_an_unknown_architecture_is_named(tmp_path):
    path = models.random_llama(tmp_path / "new.gguf", architecture="llama9")
    sentence = refusal(path, error=ModelLoadFailed)
    assert "architecture 'llama9'" in sentence and "upgrade llama-cpp-python" in sentence


def test_a_file_without_its_tensors_says_which(tmp_path):
    path = models.write_gguf(
        tmp_path / "hollow.gguf",
        "llama",
        {"embedding_length": 32, "block_count": 1, "feed_forward_length": 64, "attention.head_count": 4},
        [],
    )
    sentence = refusal(path, error=ModelLoadFailed)
    assert "hollow.gguf" in sentence and "token_embd.weight" in sentence


def test_damaged_metadata_is_an_error_and_no_crash(tmp_path, gguf):
    data = bytearray(gguf["llama"].read_bytes())
    at = data.index(b"llama.embedding_length")
    data[at : at + 5] = b"lamma"
    (tmp_path / "odd.gguf").write_bytes(data)
    assert "llama.embedding_length" in refusal(tmp_path / "odd.gguf", error=ModelLoadFailed)


def test_two_tokens_with_one_text_are_an_error_and_no_crash(tmp_path, monkeypatch):
    tokens = list(models.TOKENS)
    tokens[models.character("x")] = tokens[models.character("y")]
    monkeypatch.setattr(models, "TOKENS", tokens)
    path = models.random_llama(tmp_path / "twice.gguf")
    with pytest.raises(ConfigError, match=r"its token 351 has the text of another, b'y'"):
        load_engine(path)


def test_a_failed_load_leaves_the_log_quiet_about_the_next(gguf, tmp_path):
    refusal(models.random_llama(tmp_path / "new.gguf", architecture="llama9"), error=ModelLoadFailed)
    engine = load_engine(gguf["llama"])
    assert not engine.backend.model.capture.errors
    engine.backend.close()


def test_a_cache_beyond_memory_is_refused_with_its_size(gguf):
    size = total_memory() // 100  # a token takes 128 bytes
    sentence = refusal(gguf["llama"], "parallel:1", context_size=size)
    assert "GiB" in sentence and f"1 × {size} tokens" in sentence and "context_size" in sentence


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("reasoning_format:none", "the option reasoning_format:none is none of: auto, deepseek."),
        ("context_shift:perhaps", "the option context_shift:perhaps is neither true nor false"),
        ("use_jinja:no", "the option use_jinja:no is not supported, as chat templates are Jinja; remove it."),
    ],
)
def test_options_that_cannot_be_honoured_are_named(gguf, option, words):
    assert words in refusal(gguf["llama"], option)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"context_size": -5}, "`context_size` is -5"),
        ({"batch": -1}, "`batch` is -1"),
    ],
)
def test_keys_that_cannot_be_honoured_are_named(gguf, config, words):
    assert words in refusal(gguf["llama"], **config)


def test_options_that_are_already_the_case_are_welcome(gguf):
    engine = load_engine(
        *(gguf["llama"], "use_jinja", "cont_batching:1", "context_shift:off", "kv_unified:false", "cache_ram:0", "gpu"),
        *("warmup:false", "check_tensors", "no_op_offload:false", "swa_full", "ubatch:64", "n_cache_reuse:0"),
    )
    assert engine.end(engine.generate("abc", max_tokens=4))
    engine.backend.close()


def test_only_a_context_beyond_training_is_warned_of(open_engine, caplog):
    def warned():
        shown = [record.message for record in caplog.records if record.levelno > logging.DEBUG]
        return [message for message in shown if "train" in message]

    with caplog.at_level(logging.DEBUG):
        engine = open_engine("llama", "parallel:4", context_size=-1)
        trained = engine.backend.model.trained_context
        assert any("n_ctx_seq" in record.message for record in caplog.records)
        assert warned() == []
        open_engine("llama", "parallel:1", context_size=trained + 1)
    assert len(warned()) == 1 and f"trained for {trained} tokens" in warned()[0]


def test_the_library_speaks_to_the_python_log_only(gguf, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        load_engine(gguf["llama"], "parallel:3").backend.close()
    assert "3 slots × 256 tokens" in caplog.text
    assert any(record.levelno == logging.DEBUG and "n_ctx" in record.message for record in caplog.records)
    assert capfd.readouterr() == ("", "")


def test_a_machine_has_cores_and_memory():
    assert physical_cores() >= 1
    assert available_memory() > 1 << 20
