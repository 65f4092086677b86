"""Folders that are quantised by GPTQ, as AutoGPTQ and GPTQModel write them, under the names that the library knows."""

from __future__ import annotations

import json

import pytest

from localai_flask import backends
from localai_flask.backends.gptq.folder import readable_folder
from localai_flask.config.blocks import ModelFile
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

SETTINGS = {"bits": 4, "group_size": 128, "desc_act": False}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "m"
    made.mkdir()
    (made / "tokenizer.json").write_text("{}")
    return made


def describe(folder, stored=None, beside=None):
    config = {"model_type": "llama"} | ({"quantization_config": stored} if stored else {})
    (folder / "config.json").write_text(json.dumps(config))
    if beside:
        (folder / "quantize_config.json").write_text(json.dumps(beside))


def model(folder, **keys):
    return EngineConfig(name="m", backend="gptq", parameters=ModelFile(model=str(folder)), **keys)


def readable(folder, **keys):
    """Return the names of what the library reads, with the contents, and how the weights are described."""
    with readable_folder(model(folder, **keys)) as found:
        described = json.loads((found / "config.json").read_text())["quantization_config"]
        return {file.name: file.read_text() for file in found.glob("*.safetensors*")}, described, found


def test_a_folder_of_gptqmodel_is_read_as_it_is(folder):
    describe(folder, {**SETTINGS, "quant_method": "gptq"})
    (folder / "model.safetensors").write_text("w")
    assert readable(folder)[2] == folder


def test_a_folder_of_autogptq_gets_the_usual_names(folder):
    describe(folder, beside=SETTINGS)
    (folder / "gptq_model-4bit-128g.safetensors").write_text("w")
    files, described, place = readable(folder)
    assert files["model.safetensors"] == "w"
    assert described == {**SETTINGS, "quant_method": "gptq"}
    assert place.name == "m" and not place.exists(), "it is there only while it is read"


def test_usual_weights_beside_their_own_description_are_read(folder):
    describe(folder, beside=SETTINGS)
    (folder / "model.safetensors").write_text("w")
    assert readable(folder)[0] == {"model.safetensors": "w"}


def test_model_base_name_chooses_among_weights(folder):
    describe(folder, {**SETTINGS, "quant_method": "gptq"})
    for name in ("model", "group-32", "group-128"):
        (folder / f"{name}.safetensors").write_text(name)
    for wanted in ("group-32", "group-128.safetensors"):
        files, *_ = readable(folder, model_base_name=wanted)
        assert files["model.safetensors"] == wanted.removesuffix(".safetensors")
    assert readable(folder)[2] == folder


def test_weights_in_parts_keep_their_names_beside_the_index(folder):
    describe(folder, beside=SETTINGS)
    for number in (1, 2):
        (folder / f"gptq_model-0000{number}-of-00002.safetensors").write_text(str(number))
    (folder / "gptq_model.safetensors.index.json").write_text("index")
    files, *_ = readable(folder)
    assert files["model.safetensors.index.json"] == "index" and files["gptq_model-00002-of-00002.safetensors"] == "2"


@pytest.mark.parametrize(
    ("stored", "names", "keys", "said"),
    [
        (None, ["model"], {}, "is not quantised by GPTQ; use `backend: transformers`"),
        ({"quant_method": "awq"}, ["model"], {}, "is quantised by awq; leave `backend` out"),
        ({"quant_method": "gptq"}, ["a", "b"], {}, "finds several weights in .* with `model_base_name`: a, b"),
        ({"quant_method": "gptq"}, ["a"], {"model_base_name": "c"}, "finds no c.safetensors in .*; it has: a"),
    ],
)
def test_what_cannot_be_read_is_said(folder, stored, names, keys, said):
    describe(folder, stored)
    for name in names:
        (folder / f"{name}.safetensors").touch()
    with pytest.raises(ConfigError, match=said), readable_folder(model(folder, **keys)):
        pass


def test_other_weights_than_the_stored_ones_cannot_be_wanted():
    (note,) = backends.check(EngineConfig(name="m", backend="gptq", quantization="bnb_4bit"))
    assert note.is_fault and note.path == ("quantization",)
    assert backends.check(EngineConfig(name="m", backend="gptq", quantization="gptq", model_base_name="x")) == []
