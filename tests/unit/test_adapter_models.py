"""Adapters as models in the models folder: what they take from their parents, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask.config.folder.registry import Registry
from localai_flask.config.model_yaml import file_reader
from localai_flask.config.sampling import sampling
from localai_flask.errors import ApiError, ConfigError
from localai_flask.generation import Adapter
from localai_flask.settings import Settings
from tests.support import gguf_models as models

BASE = """\
name: base
parameters: {model: base.gguf, temperature: 0.3, top_k: 7}
context_size: 512
lora_adapter: always.gguf
lora_scale: 0.5
system_prompt: You are a base.
keep_alive: 60
roles: {user: You, assistant: Me}
reasoning: {budget: 5, disable: true}
"""
INLINE = """\
adapters:
  short: short.gguf
  long:
    lora_adapters: [a.gguf, b.gguf]
    lora_scales: [2]
    system_prompt: You are long.
    parameters: {temperature: 0.9}
    roles: {user: Thou}
    reasoning: {budget: 9}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models.random_llama(tmp_path / "base.gguf")
    for name in ("always", "short", "a", "b", "loose"):
        models.lora_adapter(tmp_path / f"{name}.gguf")
    (tmp_path / "base.yaml").write_text(BASE + INLINE)
    return tmp_path


def registry(folder: Path) -> Registry:
    return Registry(Settings(models_path=folder))


def refusal(folder: Path, name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        registry(folder).get(name)
    return str(caught.value)


def test_adapters_have_their_parents_worker_and_what_they_say_themselves(folder):
    (folder / "aaa.yaml").write_text("name: aaa\nparent: base\nlora_adapter: a.gguf\n")  # before it in the alphabet
    found = registry(folder).models()
    assert list(found) == ["aaa", "base", "long", "short"]
    base = found["base"]
    assert {config.key for config in found.values()} == {base.key}
    assert {config.engine.name for config in found.values()} == {"base"}
    assert [found[name].variant_of for name in found] == ["base", "", "base", "base"]
    own = (("always.gguf", 0.5),)
    assert [found[name].adapted_by for name in found] == [
        (*own, ("a.gguf", 1.0)),
        None,
        (*own, ("a.gguf", 2.0), ("b.gguf", 1.0)),
        (*own, ("short.gguf", 1.0)),
    ]
    long = found["long"]
    assert (long.system_prompt, found["short"].system_prompt) == ("You are long.", "You are a base.")
    assert (long.parameters.temperature, long.parameters.top_k, long.parameters.model) == (0.9, 7, "base.gguf")
    assert long.roles == {"user": "Thou", "assistant": "Me"} and long.keep_alive == 60
    assert (long.reasoning.budget, long.reasoning.disable) == (9, True)


def test_requests_have_the_adapters_of_their_model_or_choose_others(folder):
    found = registry(folder).models()
    assert found["base"].adapters is None
    assert found["short"].adapters == (Adapter("always.gguf", 0.5), Adapter("short.gguf", 1.0))
    assert sampling.merge(found["short"], {}).adapters is None
    files = ("always.gguf", "a.gguf", "b.gguf", "short.gguf")
    assert {config.known_adapters for config in found.values()} == {files}
    asked = {"lora": [(3, 0.5), (1, 2.0), (0, 0.0)]}
    assert sampling.merge(found["base"], asked).adapters == (Adapter("a.gguf", 2.0), Adapter("short.gguf", 0.5))
    assert sampling.merge(found["short"], {"lora": []}).adapters == ()
    with pytest.raises(ApiError, match="`lora` names the adapter 4, and 'base' has 0 to 3"):
        sampling.merge(found["base"], {"lora": [(4, 1.0)]})


def test_files_of_adapters_are_no_models(folder):
    assert "loose.gguf" not in registry(folder).models()
    with pytest.raises(ApiError, match="no model 'loose'"):
        registry(folder).get("loose")


def test_a_model_that_nobody_names_is_no_adapter(folder):
    (folder / "base.yaml").write_text(BASE.replace("base", "zebra").replace("zebra.gguf", "base.gguf") + INLINE)
    assert registry(folder).resolve(None).name == "zebra"
    assert registry(folder).get("base.gguf").name == "zebra"


def test_an_adapter_comes_and_goes_with_its_parent(folder):
    (folder / "late.yaml").write_text("name: late\nparent: base\nlora_adapter: a.gguf\n")
    (folder / "base.yaml").write_text(BASE + "disabled: true\n")
    with pytest.raises(ApiError, match="disabled"):
        registry(folder).get("late")
    (folder / "base.yaml").unlink()
    assert "`parent` names 'base', which is no model" in refusal(folder, "late")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\nparent: base\n", "has no file; name it in `lora_adapter`"),
        ("name: x\nparent: x\nlora_adapter: a.gguf\n", "x.yaml, line 2: `parent` names the model"),
        ("name: x\nparent: base\nlora_adapter: a.gguf\ncontext_size: 9\n", "x.yaml, line 4: `context_size` belongs to"),
        ("name: x\nparent: base\nlora_adapter: a.gguf\nbackend: vllm\n", "`backend` belongs to the parent 'base'"),
        ("name: x\nparent: base\nlora_adapter: a.gguf\npinned: true\n", "`pinned` belongs to the parent 'base'"),
        ("name: x\nparent: base\nlora_adapter: a.gguf\nparameters: {model: y.gguf}\n", "`parameters.model` belongs"),
        ("name: x\nparent: base\nlora_adapter: ../a.gguf\n", "`lora_adapter` leads out of the models folder"),
        ("name: x\nparent: base\nlora_adapter: https://a.org/a.gguf\n", "are not fetched"),
        ("name: x\nparent: base\nlora_adapter: a.gguf\nlora_scales: [1]\n", "more entries than `lora_adapters`"),
        ("name: x\nparent: nobody\nlora_adapter: a.gguf\n", "`parent` names 'nobody', which is no model"),
        ("name: x\nparent: short\nlora_adapter: a.gguf\n", "itself an alias or an adapter; name 'base' instead"),
    ],
)
def test_what_is_wrong_with_an_adapter_is_said_with_its_line(folder, text, words):
    (folder / "x.yaml").write_text(text)
    assert words in refusal(folder, "x")


def test_an_engine_that_takes_no_adapters_of_requests_is_named(folder):
    (folder / "echo.yaml").write_text("name: echo\nbackend: echo\nadapters: {x: a.gguf}\n")
    assert "runs with the echo backend, which takes no adapters of requests" in refusal(folder, "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("adapters: [a]\n", "`adapters` must hold names"),
        ("adapters: {x: 3}\n", "`adapters.x` must be a name with an adapter's file, or with keys"),
        ("adapters: {x: {lora_adapter: a.gguf, name: y}}\n", "`adapters.x.name` cannot be said here"),
    ],
)
def test_what_are_no_adapters_is_said_with_its_line(folder, text, words):
    found = file_reader.read(folder / "base.yaml", BASE + text)
    assert any(isinstance(each, file_reader.Broken) and words in str(each.error) for each in found)
