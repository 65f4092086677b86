"""What a request's fields become on top of YAML, family and house defaults."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from localai_flask.config.blocks import Parameters
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.config.sampling.families import FAMILIES, sampling_for
from localai_flask.config.sampling.sampling import merge
from localai_flask.errors import InvalidRequest
from localai_flask.sampling_params import SamplingParams
from localai_flask.settings import Settings
from tests.unit.test_gguf import TINY, gguf


def config(name="tiny", stopwords=(), **parameters) -> ModelConfig:
    return ModelConfig(name=name, stopwords=stopwords, parameters=Parameters(model="tiny.gguf", **parameters))


def test_nothing_said_gives_the_house_defaults():
    assert merge(config(), {}) == SamplingParams(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)


def of_file(folder: Path, yaml: str = "", **wanted: Any) -> ModelConfig:
    metadata = {f"general.sampling.{name}": value for name, value in wanted.items()}
    (folder / "m.gguf").write_bytes(gguf(TINY | metadata))
    (folder / "m.yaml").write_text("parameters:\n  model: m.gguf\n" + yaml)
    return Registry(Settings(models_path=folder)).get("m")


def of_folder(folder: Path, wanted: Any, name: str = "m") -> ModelConfig:
    (folder / name).mkdir()
    (folder / name / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / name / "generation_config.json").write_text(wanted if isinstance(wanted, str) else json.dumps(wanted))
    return Registry(Settings(models_path=folder)).get(name)


def test_a_gguf_file_says_how_to_sample_it(tmp_path):
    said = of_file(tmp_path, temp=0.6, top_k=20, top_p=0.949999988, penalty_repeat=1.05, penalty_last_n=128)
    expected = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repeat_penalty": 1.05, "repeat_last_n": 128}
    assert merge(said, {}) == SamplingParams(**expected, min_p=0.05)
    assert merge(said, {"temperature": 0.1, "top_k": 7}) == SamplingParams(
        **{**expected, "temperature": 0.1, "top_k": 7}, min_p=0.05
    )
    yaml = merge(of_file(tmp_path, "  temperature: 0.3\n  min_p: 0\n", temp=0.6, top_k=20), {})
    assert (yaml.temperature, yaml.min_p, yaml.top_k) == (0.3, 0.0, 20)


def test_a_file_that_changes_is_read_again(tmp_path):
    assert merge(of_file(tmp_path, temp=0.6), {}).temperature == 0.6
    assert merge(of_file(tmp_path, temp=0.25, top_k=3), {}).temperature == 0.25


def test_a_folder_says_how_to_sample_it(tmp_path):
    wanted = {
        "do_sample": True,
        "temperature": 0.6,
        "top_p": 0.9,
        "top_k": 64,
        "repetition_penalty": 1.1,
        "min_p": None,
    }
    assert merge(of_folder(tmp_path, wanted), {}) == SamplingParams(
        temperature=0.6, top_p=0.9, top_k=64, repeat_penalty=1.1, min_p=0.05
    )
    greedy = of_folder(tmp_path, {"do_sample": False, "temperature": 0.7}, "greedy")
    assert merge(greedy, {}).temperature == 0
    assert merge(greedy, {"temperature": 1}).temperature == 1


def test_a_family_goes_before_the_file(tmp_path):
    family = merge(of_folder(tmp_path, {"temperature": 0.1, "typical_p": 0.9}, "qwen3-4b"), {})
    assert (family.temperature, family.top_k, family.typical_p) == (0.6, 20, 0.9)


def test_what_makes_no_sense_in_a_file_is_passed_over(tmp_path, caplog):
    odd = {"temp": -1.0, "top_k": -5, "top_p": 3.0, "min_p": float("nan"), "penalty_repeat": 0.0, "mirostat": True}
    assert merge(of_file(tmp_path, **odd), {}) == SamplingParams(temperature=0.0, top_k=0, min_p=0.05)
    assert "model m" in caplog.text and "`top_p`" in caplog.text and "`repeat_penalty`" in caplog.text
    for number, wanted in enumerate(('{"temperature": "hot", "top_k": [1]}', "[]", "{", "[" * 200_000)):
        assert merge(of_folder(tmp_path, wanted, f"m{number}"), {}) == SamplingParams(temperature=0.8, min_p=0.05)


def test_yaml_lies_over_the_defaults_and_the_request_over_yaml():
    yaml = config(temperature=0.5, top_k=10, max_tokens=7, ignore_eos=True, logit_bias={"5": 1.0})
    merged = merge(yaml, {"top_k": 20, "min_p": None, "ignore_eos": False})
    assert (merged.temperature, merged.top_k, merged.max_tokens) == (0.5, 20, 7)
    assert merged.ignore_eos is False
    assert merged.logit_bias == {5: 1.0}
    assert yaml.parameters.top_k == 10


@pytest.mark.parametrize(
    "name",
    ["temperature", "min_p", "frequency_penalty", "presence_penalty", "seed", "max_tokens", "repeat_last_n", "top_k"],
)
def test_a_zero_in_the_request_overrides_yaml(name):
    assert getattr(merge(config(**{name: 1}), {name: 0}), name) == 0


def test_stops_are_appended_once_each_and_never_empty():
    yaml = config(stopwords=("</s>", "", "END"))
    assert merge(yaml, {"stop": ["END", "", "\n"]}).stop == ("</s>", "END", "\n")
    assert merge(yaml, {"stop": "x"}).stop == ("</s>", "END", "x")
    assert merge(yaml, {}).stop == ("</s>", "END")
    assert merge(yaml, {"stop": None}).stop == ("</s>", "END")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "1"),
        ("temperature", True),
        ("top_p", 1.01),
        ("top_p", -0.01),
        ("min_p", 2),
        ("typical_p", -1),
        ("top_k", -2),
        ("frequency_penalty", 2.1),
        ("presence_penalty", -2.1),
        ("repeat_penalty", 0),
        ("repeat_last_n", -2),
        ("max_tokens", -1),
        ("top_logprobs", 21),
        ("top_logprobs", -1),
        ("ignore_eos", 1),
        ("seed", "x"),
        ("seed", math.inf),
        ("stop", 5),
        ("stop", ["a", 5]),
        ("logit_bias", [1]),
        ("logit_bias", {"": 1}),
        ("logit_bias", {"-5": 1}),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"5": math.nan}),
        ("logit_bias", {"5": None}),
    ],
)
def test_out_of_range_is_refused_by_name(name, value):
    with pytest.raises(InvalidRequest, match=f"^`{name}` ") as caught:
        merge(config(), {name: value})
    assert caught.value.info.param == name


def test_a_refusal_uses_the_clients_word():
    with pytest.raises(InvalidRequest, match=r"^`max_completion_tokens` must be at least 0, not -1\.") as caught:
        merge(config(), {"max_tokens": -1}, {"max_tokens": "max_completion_tokens"})
    assert caught.value.info.param == "max_completion_tokens"


@pytest.mark.parametrize(
    ("seed", "folded"),
    [(42, 42), (-1, -1), (0, 0), (2**32, 1), (2**32 - 1, 0), (-2, 2**32 - 3), (2**70, 2**70 % (2**32 - 1))],
)
def test_any_seed_folds_into_32_bits_beside_the_reserved_one(seed, folded):
    assert merge(config(), {"seed": seed}).seed == folded
    if abs(seed) < 2**63:
        assert merge(config(seed=seed), {}).seed == folded


def test_one_way_to_say_off_and_one_to_say_greedy():
    assert merge(config(), {"top_k": -1}).top_k == 0
    assert merge(config(top_k=-1), {}).top_k == 0
    assert merge(config(), {"top_k": 2**40, "repeat_last_n": 2**40}).top_k == 2**31 - 1
    assert 0 < merge(config(), {"top_p": 0}).top_p < 1e-3
    assert 0 < merge(config(), {"typical_p": 0}).typical_p < 1e-3


def test_logit_bias_of_the_request_replaces_the_yamls():
    yaml = config(logit_bias={"5": 1.0})
    assert merge(yaml, {"logit_bias": {"7": -100, 8: 2}}).logit_bias == {7: -100.0, 8: 2.0}
    assert merge(yaml, {"logit_bias": {}}).logit_bias == {}


def test_a_key_of_logit_bias_is_an_id_or_a_text():
    merged = merge(config(), {"logit_bias": {"7": 1, "hello": -2, "7 ": 3}})
    assert (merged.logit_bias, merged.text_bias) == ({7: 1.0}, {"hello": -2.0, "7 ": 3.0})
    assert merge(config(logit_bias={"hello": 5.0}), {}).text_bias == {"hello": 5.0}
    assert merge(config(logit_bias={"hello": 5.0}), {"logit_bias": {"8": 1}}).text_bias == {}


@pytest.mark.parametrize(
    ("name", "value", "wrong"),
    [
        ("top_n_sigma", 1.5, -1.5),
        ("xtc_probability", 0.5, 1.1),
        ("xtc_threshold", 0.2, -0.1),
        ("dynatemp_range", 0.5, -0.5),
        ("dynatemp_exponent", 2.0, -1),
        ("mirostat", 2, 3),
        ("mirostat_tau", 3.0, -1),
        ("mirostat_eta", 0.2, -1),
        ("adaptive_target", 0.5, 1.1),
        ("adaptive_decay", 0.5, 1),
        ("dry_multiplier", 0.8, -1),
        ("dry_base", 1.5, 0.9),
        ("dry_allowed_length", 3, -1),
        ("dry_penalty_last_n", -1, -2),
        ("dry_sequence_breakers", ("\n", "é"), ["x" * 41]),
    ],
)
def test_every_sampler_is_set_by_yaml_and_by_requests(name, value, wrong):
    assert getattr(merge(config(**{name: value}), {}), name) == value
    assert getattr(merge(config(), {name: value}), name) == value
    with pytest.raises(InvalidRequest, match=f"^`{name}` "):
        merge(config(), {name: wrong})


def test_family_lies_between_house_and_yaml():
    assert merge(config("Qwen3-8B"), {}).top_k == 20
    assert merge(config("Qwen3-8B", top_k=3), {}).top_k == 3
    assert merge(config("Qwen3-8B", top_k=3), {"top_k": 4}).top_k == 4
    assert merge(config("Qwen3.5-4B"), {}).presence_penalty == 1.5
    assert merge(config("gpt-oss-20b"), {}).temperature == 1.0


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (("Qwen3.5-4B",), "qwen3.5"),
        (("Qwen3-Coder-30B-A3B",), "qwen3-coder"),
        (("qwen3-8b-q4_k_m.gguf",), "qwen3"),
        (("Qwen2.5-7B",), "qwen2.5"),
        (("Qwen2-7B",), "qwen2"),
        (("unsloth/Llama-3.3-70B-Instruct",), "llama-3.3"),
        (("Meta_Llama-3-8B",), "llama-3"),
        (("gemma-3n-E4B",), "gemma-3n"),
        (("DeepSeek-R1-0528-Qwen3-8B",), "deepseek-r1"),
        (("lfm2_1.2b",), "lfm2"),
        (("falcon3-7b",), "falcon"),
        (("my-model", "Phi-4-mini.gguf"), "phi-4"),
    ],
)
def test_the_longest_family_name_wins(names, family):
    assert sampling_for(*names) == FAMILIES[family]


@pytest.mark.parametrize("name", ["tiny", "linseed-7b", "seedling", "qwen25-7b", "polmo", "llama-31"])
def test_a_family_name_inside_another_word_is_no_family(name):
    assert sampling_for(name) == {}
