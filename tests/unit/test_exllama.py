"""The ExLlama engines upon generators that have the libraries' shapes, and what they call in the libraries' sources."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from localai_flask.backends import exllama
from localai_flask.backends.base import Job
from localai_flask.backends.exllama.engine import ExllamaBackend
from localai_flask.backends.exllama.key_checks import check
from localai_flask.config.blocks import ModelFile
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ContextOverflow
from localai_flask.generation import Constraint, Delta, Failed, Finished, FinishReason, Progress, Prompt, Started
from localai_flask.sampling_params import SamplingParams
from tests.support import fake_exllama, hf_models

ENGINES = ("exllama2", "exllama3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    hf_models.make_tokenizer().save_pretrained(tmp_path / "model")
    config = {"model_type": "llama", "eos_token_id": 2, "max_position_embeddings": 4096}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def load(backend: str, **keys: Any) -> ExllamaBackend:
        fake_exllama.forget()
        for name, module in fake_exllama.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        config = EngineConfig(
            name="m", backend=backend, models_path=str(folder), parameters=ModelFile(model="model"), **keys
        )
        made = ExllamaBackend()
        made.info = made.load(config, lambda share: None)  # type: ignore[attr-defined]
        fake_exllama.Generator.size = made.tokens.size
        return made

    yield load
    fake_exllama.forget()


def job(number: int, text: str = "abc", **params: Any) -> Job:
    return Job(number, Prompt(text), SamplingParams(**{"temperature": 0.0, "max_tokens": 6} | params))


def run(engine: ExllamaBackend, *jobs: Job) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {each.id: [] for each in jobs}
    for each in jobs:
        engine.prepare(each)
        assert engine.start(each)
    for _ in range(400):
        if engine.is_idle:
            break
        for number, reply in engine.step():
            found[number].append(reply)
    return found


def text_of(replies: list[Any]) -> str:
    return "".join(reply.text for reply in replies if isinstance(reply, Delta))


def made_with(name: str) -> dict[str, Any]:
    return next(each for each in fake_exllama.LOADED if each["class"] == name)


@pytest.mark.parametrize("backend", ENGINES)
def test_tokens_are_those_that_the_logits_prefer(engine: Any, backend: str) -> None:
    loaded = engine(backend)
    found = run(loaded, first := job(1), second := job(2, "once upon a time there was a long text", max_tokens=4))
    assert first.output_tokens == [first.prompt_tokens[-1] + 1 + at for at in range(6)]
    assert len(second.output_tokens) == 4
    assert [type(reply) for reply in found[1]][:2] == [Started, Delta] and found[1][0].cached_tokens == 3
    assert isinstance(found[1][-1], Finished) and found[1][-1].reason is FinishReason.MAX_TOKENS
    assert any(isinstance(reply, Progress) for reply in found[2])
    assert text_of(found[1]) == loaded.tokens.decode(first.output_tokens)


@pytest.mark.parametrize("backend", ENGINES)
def test_the_end_of_a_text_ends_an_answer(engine: Any, backend: str) -> None:
    loaded = engine(backend)
    (end,) = loaded.tokens.eos
    found = run(loaded, Job(1, Prompt(tokens=[5, end - 1]), SamplingParams(temperature=0.0)))
    assert found[1][-1].reason is FinishReason.EOS
    ignoring = run(
        loaded, Job(2, Prompt(tokens=[5, end - 1]), SamplingParams(temperature=0.0, max_tokens=3, ignore_eos=True))
    )
    assert ignoring[2][-1].reason is FinishReason.MAX_TOKENS


@pytest.mark.parametrize("backend", ENGINES)
def test_a_form_is_kept_and_a_seed_repeats(engine: Any, backend: str) -> None:
    loaded = engine(backend)
    form = Constraint("regex", "[0-9]{3}!")
    found = run(loaded, job(1, constraint=form, max_tokens=20))
    assert text_of(found[1])[-1:] == "!"
    wild = {"temperature": 50.0, "top_p": 1.0, "max_tokens": 12}
    drawn = [job(number, seed=seed, **wild) for number, seed in ((2, 1), (3, 1), (4, 2))]
    run(loaded, *drawn)
    assert drawn[0].output_tokens == drawn[1].output_tokens != drawn[2].output_tokens


@pytest.mark.parametrize("backend", ENGINES)
def test_a_stop_string_and_logprobs(engine: Any, backend: str) -> None:
    loaded = engine(backend)
    found = run(loaded, plain := job(1, top_logprobs=2))
    logprobs = [entry for reply in found[1] if isinstance(reply, Delta) for entry in reply.logprobs]
    assert [entry.id for entry in logprobs] == plain.output_tokens and all(len(entry.top) == 2 for entry in logprobs)
    text = loaded.tokens.decode(plain.output_tokens)
    stopped = run(loaded, job(2, stop=[text[2:4]]))
    assert text_of(stopped[2]) == text[:2]
    assert stopped[2][-1].stop_sequence == text[2:4]


@pytest.mark.parametrize("backend", ENGINES)
def test_a_cancelled_request_leaves_the_library(engine: Any, backend: str) -> None:
    loaded = engine(backend)
    for each in (job(1, max_tokens=50), job(2, max_tokens=3)):
        loaded.prepare(each)
        loaded.start(each)
    loaded.step()
    loaded.cancel(1)
    loaded.cancel(1)
    while not loaded.is_idle:
        assert all(number == 2 for number, _ in loaded.step())
    assert loaded.room == 16


@pytest.mark.parametrize("backend", ENGINES)
def test_what_the_library_gives_up_fails_alone(engine: Any, backend: str) -> None:
    loaded = engine(backend)
    broken = Job(1, Prompt(tokens=[loaded.tokens.size - 1, 5]), SamplingParams(max_tokens=4))
    found = run(loaded, broken, job(2))
    assert isinstance(found[1][-1], Failed) and "a kernel failed" in found[1][-1].error.message
    assert isinstance(found[2][-1], Finished)


@pytest.mark.parametrize("backend", ENGINES)
def test_a_prompt_that_does_not_fit_is_refused(engine: Any, backend: str) -> None:
    with pytest.raises(ContextOverflow):
        engine(backend, context_size=256).prepare(Job(1, Prompt(tokens=[5] * 256), SamplingParams()))


def test_yaml_goes_to_exllamav2(engine: Any) -> None:
    engine(
        "exllama2", context_size=1000, cache_type_k="q4", cache_type_v="q4", options=("gpu_split:20,24", "parallel:3")
    )
    assert made_with("ExLlamaV2Cache_Q4")["max_seq_len"] == 1024
    assert made_with("load")["split"] == ([20.0, 24.0],)
    assert made_with("ExLlamaV2DynamicGenerator")["max_batch_size"] == 3


def test_yaml_goes_to_exllamav3(engine: Any, folder: Path) -> None:
    draft = {"draft_model": "model", "n_draft": 5}
    engine("exllama3", context_size=1000, cache_type_k="q6", cache_type_v="q4", options=("cache_size:4096",), **draft)
    cache = made_with("Cache")
    assert (cache["max_num_tokens"], cache["k_bits"], cache["v_bits"], cache["max_history"]) == (4096, 6, 4, 5)
    assert made_with("Generator")["num_draft_tokens"] == 5 and made_with("Generator")["draft_model"] is not None


def test_without_flash_attention_exllamav2_runs_one_request(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_exllama.Generator, "no_pages", True)
    assert engine("exllama2").room == 1


@pytest.mark.parametrize("backend", ENGINES)
def test_without_a_card_one_sentence_says_so(folder: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = EngineConfig(name="m", backend=backend, models_path=str(folder), parameters=ModelFile(model="model"))
    with pytest.raises(ConfigError, match=f"the {backend} backend computes on NVIDIA cards alone, and torch finds"):
        ExllamaBackend().load(config, lambda share: None)


@pytest.mark.parametrize(
    ("backend", "keys", "said"),
    [
        ("exllama2", {"cache_type_k": "q5"}, "f16, q4, q6 and q8, not 'q5'"),
        ("exllama2", {"cache_type_k": "q8"}, "keeps keys and values in one type"),
        ("exllama3", {"cache_type_v": "turbo3"}, "q2 to q8, not 'turbo3'"),
        ("exllama3", {"rope_freq_base": 1e6}, "`rope_freq_base` is not read by the exllama3 backend"),
        ("exllama3", {"options": ("gpu_split:all",)}, "gigabytes for each card"),
        ("exllama2", {"options": ("cache_size:much",)}, "a whole number from 1 on"),
        ("exllama3", {"options": ("rope_alpha:2",)}, "has no option 'rope_alpha'"),
        ("exllama2", {"tensor_split": "1,1"}, "`tensor_split` is not read"),
    ],
)
def test_yaml_that_cannot_be_honoured_is_named(backend: str, keys: dict[str, Any], said: str) -> None:
    notes = [note.text for note in check(EngineConfig(name="m", backend=backend, **keys))]
    assert any(said in note for note in notes), notes


METHODS = {
    "exllamav2": {
        "ExLlamaV2": {"load": {"gpu_split", "callback"}, "load_autosplit": {"cache", "callback"}, "unload": set()},
        "ExLlamaV2DynamicGenerator": {"enqueue": {"job"}, "cancel": {"job"}, "iterate": set()},
        "ExLlamaV2Filter": {"begin": {"prefix_str"}, "feed": {"token"}, "mask_logits": {"logits"}},
        "Settings": {"greedy": set()},
    },
    "exllamav3": {
        "Model": {
            "from_config": {"config"},
            "unload": set(),
            "load_gen": {"callback", "max_chunk_size", "use_per_device"},
        },
        "Config": {"from_directory": {"directory"}},
        "Tokenizer": {"from_config": {"config"}},
        "Generator": {"enqueue": {"job"}, "cancel": {"job"}, "iterate": set()},
        "Sampler": {"forward": {"logits"}},
        "CacheLayer_quant": {"__init__": {"k_bits", "v_bits"}},
    },
}
"""What is called beside the classes themselves, with its parameters."""
READ = {
    "exllamav2": {"is_finished", "cached_pages", "cached_tokens", "identifier", "max_input_len", "scale_alpha_value"},
    "exllamav3": {"is_finished", "cached_pages", "cached_tokens", "identifier", "reqs_past_ids"},
}
"""Attributes of theirs that are read or set."""


def classes(package: str) -> tuple[dict[str, ast.ClassDef], str]:
    """Return the classes of an installed package by name, and all its source; skip the test where it is not."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    texts = [file.read_text() for file in sorted(Path(found.submodule_search_locations[0]).rglob("*.py"))]
    trees = [ast.parse(text) for text in texts]
    return {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}, "".join(
        texts
    )


def parameters(node: ast.ClassDef, method: str) -> set[str]:
    (found,) = [each for each in node.body if isinstance(each, ast.FunctionDef) and each.name == method][-1:]
    return {argument.arg for argument in (*found.args.args, *found.args.kwonlyargs)}


@pytest.mark.parametrize(("package", "module"), [("exllamav2", "v2"), ("exllamav3", "v3")])
def test_what_is_called_is_in_the_librarys_source(package: str, module: str) -> None:
    there, text = classes(package)
    ours = ast.parse((Path(exllama.__file__).parent / f"{module}.py").read_text())
    imports = [node for node in ast.walk(ours) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports if (node.module or "").startswith(package) for alias in node.names}
    assert names - {"__version__"} <= set(there)
    for node in ast.walk(ours):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            asked = {keyword.arg for keyword in node.keywords if keyword.arg is not None}
            assert asked <= parameters(there[node.func.id], "__init__"), node.func.id
    for name, methods in METHODS[package].items():
        for method, asked in methods.items():
            assert asked <= parameters(there[name], method), f"{name}.{method}"
    assert all(f"self.{name} =" in text or f"self.{name}:" in text for name in READ[package])
