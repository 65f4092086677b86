"""Vectors and tokens of the transformers backend, compared with a plain run of the model on one text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("transformers")

import safetensors.torch
import torch
import transformers
from huggingface_hub import constants

from localai_flask.backends.base import Inquiry
from localai_flask.backends.transformers.engine import TransformersBackend
from localai_flask.backends.transformers.vectors import encoding
from localai_flask.config.blocks import Parameters
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError, ModelLoadFailed
from localai_flask.generation import Failed, Prompt
from localai_flask.inquiry import Detokenize, Detokenized, Embed, Embedded, Fact, Tokenize, Tokenized
from tests.support import hf_models
from tests.support.fronted import Fronted

TEXTS = ["The quick brown fox", "été", "A long time ago in a galaxy far, far away, there was a small model."]
Load = Callable[..., Fronted]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("hf")
    tokenizer = hf_models.make_tokenizer()
    tokenizer.save_pretrained(folder / "bert")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **shape)
    transformers.BertModel(config).save_pretrained(folder / "bert")
    return {"bert": folder / "bert", "llama": hf_models.make_model(folder / "llama")}


@pytest.fixture
def load() -> Iterator[Load]:
    backends: list[Fronted] = []

    def load(folder: Path, **config: Any) -> Fronted:
        backends.append(Fronted(TransformersBackend()))
        parameters = Parameters(model=folder.name)
        backends[-1].load(
            ModelConfig(name="tiny", models_path=str(folder.parent), parameters=parameters, **config), lambda _: None
        )
        return backends[-1]

    yield load
    for backend in backends:
        backend.close()


def ask(backend: Fronted, *texts: str) -> list[Any]:
    found: dict[int, Any] = {}
    for number, text in enumerate(texts):
        assert backend.ask(Inquiry(number, Embed(Prompt(text)), group=0)) is None
    while not backend.is_idle:
        found.update(backend.step())
    return [found[number] for number in range(len(texts))]


def plain(folder: Path, text: str) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(torch.tensor([tokenizer.encode(text)])).last_hidden_state[0]
    return np.asarray(states)


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


@pytest.mark.parametrize(("name", "config"), [("bert", {"type": "AutoModel"}), ("llama", {"embeddings": True})])
def test_the_mean_of_the_last_hidden_states(
    load: Load, folders: dict[str, Path], name: str, config: dict[str, Any]
) -> None:
    found = ask(load(folders[name], **config), *TEXTS)
    for answer, text in zip(found, TEXTS, strict=True):
        assert isinstance(answer, Embedded)
        states = plain(folders[name], text)
        assert answer.tokens == len(states)
        assert np.allclose(np.frombuffer(answer.data, "<f4"), unit(states.mean(axis=0)), atol=1e-4)


def test_pooling_of_sentence_transformers(load: Load, folders: dict[str, Path]) -> None:
    (folders["bert"] / "1_Pooling").mkdir()
    pooling = folders["bert"] / "1_Pooling" / "config.json"
    try:
        pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
        [answer] = ask(load(folders["bert"], type="SentenceTransformer"), TEXTS[0])
        assert np.allclose(np.frombuffer(answer.data, "<f4"), unit(plain(folders["bert"], TEXTS[0])[0]), atol=1e-4)
        pooling.write_text(json.dumps({"pooling_mode_max_tokens": True}))
        with pytest.raises(ConfigError, match="pooling_mode_max_tokens"):
            load(folders["bert"], type="SentenceTransformer")
    finally:
        pooling.unlink()
        pooling.parent.rmdir()


def test_layers_behind_the_pooling_of_sentence_transformers(
    load: Load, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "dense"
    shutil.copytree(folders["bert"], folder)
    torch.manual_seed(1)
    layer = torch.nn.Linear(32, 8)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "2_Dense").mkdir()
    safetensors.torch.save_file(
        {"linear.weight": layer.weight.data, "linear.bias": layer.bias.data}, folder / "2_Dense" / "model.safetensors"
    )
    described = {"in_features": 32, "out_features": 8, "activation_function": "torch.nn.modules.activation.Tanh"}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(described))
    prefix = "sentence_transformers.models."
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Dense", "Dense"), ("3_Normalize", "Normalize")]
    listed = [{"path": path, "type": prefix + kind} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    prompts = {"prompts": {"query": "ask: "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    [answer] = ask(load(folder, type="SentenceTransformer"), TEXTS[0])
    mean = torch.from_numpy(plain(folder, f"ask: {TEXTS[0]}").mean(axis=0))
    expected = torch.tanh(layer(mean)).detach().numpy()
    assert len(answer.data) == 4 * 8
    assert np.allclose(np.frombuffer(answer.data, "<f4"), unit(expected), atol=1e-4)
    (folder / "modules.json").write_text(json.dumps([*listed, {"path": "", "type": f"{prefix}WeightedLayerPooling"}]))
    with pytest.raises(ConfigError, match="lists a WeightedLayerPooling"):
        load(folder, type="SentenceTransformer")
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "2_Dense" / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelLoadFailed, match="cannot read the weights"):
        load(folder, type="SentenceTransformer")


def test_positions_behind_the_padding_token_are_not_counted(load: Load, tmp_path: Path) -> None:
    tokenizer = hf_models.make_tokenizer()
    folder = tmp_path / "roberta"
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    config = transformers.RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **shape)
    transformers.RobertaModel(config).save_pretrained(folder)
    backend = load(folder, embeddings=True)
    tokens = [20] * 65
    for number, ids in enumerate((tokens[:64], tokens)):
        assert backend.ask(Inquiry(number, Embed(Prompt(tokens=ids)), group=0)) is None
    found: dict[int, Any] = {}
    while not backend.is_idle:
        found.update(backend.step())
    assert isinstance(found[0], Embedded)
    assert isinstance(found[1], Failed)


def test_what_is_too_long_is_refused(load: Load, folders: dict[str, Path]) -> None:
    [answer] = ask(load(folders["bert"], embeddings=True), "fox " * 100)
    assert isinstance(answer, Failed) and "this model takes 64 at once" in answer.error.message


def test_a_text_is_cut_if_asked(load: Load, folders: dict[str, Path]) -> None:
    backend = load(folders["bert"], type="AutoModel")
    ids = backend.tokens.encode(Prompt("fox " * 100))
    backend.ask(Inquiry(1, Embed(Prompt("fox " * 100), -1), group=0))
    backend.ask(Inquiry(2, Embed(Prompt(tokens=ids[:64])), group=0))
    found: dict[int, Any] = {}
    while not backend.is_idle:
        found.update(backend.step())
    assert found[1].tokens == 64 and found[1] == found[2]


def test_the_limit_of_sentence_transformers_is_not_to_be_raised(load: Load, folders: dict[str, Path]) -> None:
    limit = folders["bert"] / "sentence_bert_config.json"
    try:
        limit.write_text('{"max_seq_length": 20}')
        backend = load(folders["bert"], type="SentenceTransformer", context_size=512)
        [answer] = ask(backend, "fox " * 30)
        assert isinstance(answer, Failed) and "this model takes 20 at once" in answer.error.message
        assert "truncate" in answer.error.message and "context_size" not in answer.error.message
    finally:
        limit.unlink()


@pytest.mark.parametrize("config", [{}, {"embeddings": True}])
def test_tokens_and_back(load: Load, folders: dict[str, Path], config: dict[str, Any]) -> None:
    backend = load(folders["llama"], **config)

    def now(question: Any) -> Fact | None:
        return backend.ask(Inquiry(1, question))

    found = now(Tokenize(Prompt("<|im_start|>été", add_bos=False), pieces=True))
    assert isinstance(found, Tokenized)
    assert b"".join(found.pieces) == "<|im_start|>été".encode() and found.tokens[0] == 1
    assert now(Detokenize(found.tokens)) == Detokenized("<|im_start|>été")
    assert now(Tokenize(Prompt("", add_bos=False))) == Tokenized([])


def test_nothing_is_fetched_while_a_folder_is_read(
    load: Load, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    read = encoding.read_modules
    monkeypatch.setattr(
        encoding, "read_modules", lambda *given: (seen.append(constants.is_offline_mode()), read(*given))[1]
    )
    before = constants.is_offline_mode()
    load(folders["bert"], embeddings=True)
    assert seen == [True]
    assert constants.is_offline_mode() == before
