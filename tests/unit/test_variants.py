"""Variants of a model: names, what is laid over, what is refused, and where it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from localai_flask.config.folder.registry import Registry
from localai_flask.errors import ConfigError, ModelNotFound
from localai_flask.settings import Settings

QWEN = """
name: qwen
backend: echo
description: the model
parameters: {temperature: 0.7, top_p: 0.9}
template: {chat: "base {{.Input}}"}
stopwords: [a, b]
variants:
  precise:
    parameters: {temperature: 0}
    stopwords: [c]
  story:
    template: {chat: "tell {{.Input}}"}
    system_prompt: You tell stories.
"""


def over(folder: Path, text: str) -> Registry:
    (folder / "qwen.yaml").write_text(text)
    return Registry(Settings(models_path=folder))


def test_a_variant_is_the_model_with_its_own_keys_laid_over(tmp_path: Path) -> None:
    registry = over(tmp_path, QWEN)
    assert list(registry.models()) == ["qwen", "qwen:precise", "qwen:story"]
    model, precise, story = (registry.get(name) for name in ("qwen", "qwen:precise", "qwen:story"))
    assert (model.parameters.temperature, precise.parameters.temperature) == (0.7, 0)
    assert precise.parameters.top_p == 0.9
    assert (precise.template.chat, story.template.chat) == ("base {{.Input}}", "tell {{.Input}}")
    assert (precise.stopwords, story.stopwords) == (("c",), ("a", "b"))
    assert (model.system_prompt, story.system_prompt) == ("", "You tell stories.")
    assert registry.get("qwen:latest") == model
    with pytest.raises(ModelNotFound):
        registry.get("qwen:other")


def test_a_model_and_its_variants_share_a_worker(tmp_path: Path) -> None:
    (tmp_path / "q.gguf").write_bytes(b"GGUF")
    text = QWEN.replace("backend: echo\n", "").replace("top_p: 0.9", "model: q.gguf")
    models = over(tmp_path, text).models()
    assert {config.key for config in models.values()} == {models["qwen"].key}
    assert [config.variant_of for config in models.values()] == ["", "qwen", "qwen"]


def test_a_request_without_a_name_gets_the_model_itself(tmp_path: Path) -> None:
    assert over(tmp_path, QWEN).resolve(None).name == "qwen"


@pytest.mark.parametrize(
    ("variant", "line", "said"),
    [
        ("precise: {context_size: 100}", 9, "`context_size` decides how the model is loaded"),
        ("precise: {parameters: {model: other}}", 9, "`parameters.model` decides how the model is loaded"),
        ("precise: {parameters: {temperature: hot}}", 9, "`parameters.temperature`"),
        ("precise: {name: x}", 9, "`variants.precise.name` belongs to the model"),
        ("precise: {variants: {}}", 9, "`variants.precise.variants` belongs to the model"),
        ("precise: 7", 9, "must hold the keys"),
        ("latest: {description: x}", 9, "is no name for a variant"),
        ("'a:b': {description: x}", 9, "is no name for a variant"),
    ],
)
def test_what_no_variant_can_be_is_said_with_its_line(tmp_path: Path, variant: str, line: int, said: str) -> None:
    registry = over(tmp_path, QWEN[: QWEN.index("  precise")] + f"  {variant}\n")
    assert list(registry.models()) == ["qwen"]
    (finding,) = registry.findings()
    assert finding.is_fault
    assert finding.line == line
    assert said in finding.text


def test_variants_that_are_no_mapping_are_a_fault_beside_the_model(tmp_path: Path) -> None:
    registry = over(tmp_path, QWEN[: QWEN.index("variants:")] + "variants: [precise]\n")
    assert list(registry.models()) == ["qwen"]
    (finding,) = registry.findings()
    assert "must hold names" in finding.text


def test_the_reason_is_said_to_who_asks_for_a_faulty_variant(tmp_path: Path) -> None:
    registry = over(tmp_path, QWEN[: QWEN.index("  precise")] + "  precise: {threads: 3}\n")
    with pytest.raises(ConfigError, match="line 9: `threads` decides"):
        registry.get("qwen:precise")


def test_warnings_about_the_model_are_not_repeated_for_its_variants(tmp_path: Path) -> None:
    registry = over(tmp_path, QWEN + "    low_vram: true\nngqa: 1\n")
    assert [(each.model, each.key) for each in registry.findings()] == [("qwen", "ngqa"), ("qwen:story", "low_vram")]
