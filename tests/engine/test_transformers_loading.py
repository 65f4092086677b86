"""What YAML asks of how the transformers engine loads a folder: weights of few bits, code, pickles, devices."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from localai_flask.backends import torch_devices as devices  # noqa: E402
from localai_flask.backends.transformers.loading import quantization  # noqa: E402
from localai_flask.errors import ConfigError  # noqa: E402
from tests.engine.test_transformers import configured, jobs, opened, run  # noqa: E402
from tests.support import hf_models  # noqa: E402

CODE = """
import transformers

class NovelConfig(transformers.LlamaConfig):
    model_type = "novel"

class NovelForCausalLM(transformers.LlamaForCausalLM):
    config_class = NovelConfig
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hf_models.make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# Weights of few bits


def choose(folder: Path, wanted: str, device: Any = devices.CPU, **described: Any) -> Any:
    return quantization.choose_quantization(configured(folder, quantization=wanted), described, device, torch.float32)


@pytest.mark.parametrize(
    ("wanted", "described", "said"),
    [
        ("bnb_4bits", {}, "perhaps 'bnb_4bit' is meant"),
        ("awq", {}, "use one of: bnb_4bit, bnb_8bit, xpu_4bit, xpu_8bit"),
        ("bnb_4bit", {"quantization_config": {"quant_method": "gptq"}}, "quantised already, by gptq"),
        ("xpu_8bit", {}, "needs an Intel GPU .* and would use cpu; .* write `quantization: bnb_8bit`"),
    ],
)
def test_weights_of_few_bits_that_cannot_be_are_refused(
    folder: Path, wanted: str, described: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        choose(folder, wanted, **described)
    assert caught.value.info.param == "quantization"


def test_a_missing_package_is_named_with_the_command(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "_is_there", lambda package: package == "accelerate")
    with (
        pytest.raises(ConfigError, match=r"needs bitsandbytes for .*; run: pip install bitsandbytes"),
        opened(folder, quantization="bnb_8bit"),
    ):
        pass


def test_localais_names_are_bitsandbytes_settings(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "_is_there", lambda package: True)
    assert choose(folder, "") is None
    assert choose(folder, "bnb_8bit").load_in_8bit
    for wanted, device in (("bnb_4bit", devices.CPU), ("xpu_4bit", torch.device("xpu", 0))):
        four = choose(folder, wanted, device)
        assert (four.load_in_4bit, four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == (True, "nf4", True)
        assert four.bnb_4bit_compute_dtype == torch.float32


@pytest.mark.parametrize(("wanted", "share"), [("bnb_4bit", 0.45), ("bnb_8bit", 0.6)])
def test_a_quantised_model_takes_less_memory_and_says_nearly_the_same(
    folder: Path, tmp_path: Path, wanted: str, share: float
) -> None:
    """Also when it is stored that way. Runs where bitsandbytes is installed, as in the engine's own environment."""
    pytest.importorskip("bitsandbytes")
    sizes, logits = {}, {}
    for name, config in (("plain", {}), (wanted, {"quantization": wanted})):
        with opened(folder, **config) as backend:
            (job,) = jobs(1)
            run(backend, job)
            model = backend.runner._manager.model
            assert len(job.output_tokens) == 40
            sizes[name] = sum(each.nbytes for layer in model.model.layers for each in layer.parameters())
            with torch.inference_mode():
                logits[name] = model(input_ids=torch.tensor([job.prompt_tokens]), use_cache=False).logits[0].flatten()
            if config:
                model.save_pretrained(tmp_path / "stored")
    assert sizes[wanted] < share * sizes["plain"]
    assert torch.nn.functional.cosine_similarity(logits["plain"].float(), logits[wanted].float(), dim=0) > 0.9
    hf_models.make_tokenizer().save_pretrained(tmp_path / "stored")
    with opened(tmp_path / "stored") as backend:
        (again,) = jobs(1)
        run(backend, again)
        assert len(again.output_tokens) == 40
    with (
        pytest.raises(ConfigError, match="quantised already, by bitsandbytes"),
        opened(tmp_path / "stored", quantization=wanted),
    ):
        pass


# Code and pickles


def test_code_of_a_model_runs_only_if_it_is_trusted(
    copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    marker = tmp_path / "ran"
    (copy / "novel.py").write_text(f"{CODE}\nopen({str(marker)!r}, 'w').close()\n")
    classes = {"AutoConfig": "novel.NovelConfig", "AutoModelForCausalLM": "novel.NovelForCausalLM"}
    change_config(copy, model_type="novel", auto_map=classes)
    with pytest.raises(ConfigError, match="set `trust_remote_code: true`") as caught, opened(copy):
        pass
    assert caught.value.info.param == "trust_remote_code"
    assert not marker.exists()
    with opened(copy, trust_remote_code=True) as backend:
        (job,) = jobs(1)
        run(backend, job)
        assert len(job.output_tokens) == 40
    assert marker.exists()


def test_a_tokenizer_with_code_of_its_own_is_refused_by_the_same_words(copy: Path) -> None:
    path = copy / "tokenizer_config.json"
    changes = {"tokenizer_class": "NovelTokenizer", "auto_map": {"AutoTokenizer": ["novel.NovelTokenizer", None]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ConfigError, match="set `trust_remote_code: true`"), opened(copy):
        pass


def test_pickles_are_read_only_if_they_are_trusted(copy: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    with opened(copy):  # beside safetensors they do not matter
        pass
    (copy / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="or set `trust_pickles: true`"), opened(copy):
        pass
    with opened(copy, trust_pickles=True) as backend:
        (job,) = jobs(1)
        run(backend, job)
        assert len(job.output_tokens) == 40


# Devices


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with this many GPUs of each kind, as far as the choice goes."""

    def pretend(**counts: int) -> None:
        for kind in devices.KINDS:
            module = torch.get_device_module(kind)
            monkeypatch.setattr(module, "is_available", lambda kind=kind: counts.get(kind, 0) > 0)
            monkeypatch.setattr(module, "device_count", lambda kind=kind: counts.get(kind, 0))

    return pretend


@pytest.mark.parametrize(
    ("config", "device"),
    [
        ({}, "cuda:0"),
        ({"main_gpu": "1"}, "cuda:1"),
        ({"main_gpu": "cuda"}, "cuda:0"),
        ({"main_gpu": "CUDA:1"}, "cuda:1"),
        ({"main_gpu": "cuda.1"}, "cuda:1"),
        ({"main_gpu": "gpu1"}, "cuda:1"),
        ({"main_gpu": "xpu"}, "xpu:0"),
        ({"main_gpu": "cpu"}, "cpu"),
        ({"gpu_layers": 0}, "cpu"),
        ({"gpu_layers": 99}, "cuda:0"),
    ],
)
def test_a_gpu_is_taken_if_there_is_one(folder, cards, config, device):
    cards(cuda=2, xpu=1)
    assert str(devices.choose_device(configured(folder, **config).engine)) == device
    cards()
    assert str(devices.choose_device(configured(folder, **config).engine)) == "cpu"


def test_a_number_counts_the_gpus_of_the_kind_that_is_there(folder, cards):
    cards(xpu=2)
    assert str(devices.choose_device(configured(folder, main_gpu="1").engine)) == "xpu:1"
    assert str(devices.choose_device(configured(folder).engine)) == "xpu:0"


@pytest.mark.parametrize("name", ["2", "cuda:7", "npu", "cuda.", "xpu:1"])
def test_a_gpu_that_is_not_there_is_passed_over(folder, cards, caplog, name):
    cards(cuda=2, xpu=1)
    assert str(devices.choose_device(configured(folder, main_gpu=name).engine)) == "cuda:0"
    assert f"there is no GPU {name!r}; there is: cpu, cuda:0, cuda:1, xpu:0" in caplog.text
