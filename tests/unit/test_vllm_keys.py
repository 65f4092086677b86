"""What the vLLM engine makes of a model's YAML, as far as that is known without its library."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from localai_flask import backends
from localai_flask.backends.vllm.key_checks import check, split_flag
from localai_flask.config import traits
from localai_flask.config.blocks import ModelFile
from localai_flask.config.model import ModelConfig


def notes(**keys: Any) -> list[tuple[str, bool]]:
    return [(note.text, note.is_fault) for note in check(ModelConfig(name="m", backend="vllm", **keys))]


@pytest.mark.parametrize(
    ("entry", "flag"),
    [
        ("--max-num-seqs=4", ("max_num_seqs", "4")),
        ("--max-num-seqs:4", ("max_num_seqs", "4")),
        ("max_num_seqs: 4", ("max_num_seqs", "4")),
        ("--enable-lora", ("enable_lora", "true")),
        ("--hf-overrides={\"a\":1}", ("hf_overrides", '{"a":1}')),
    ],
)  # fmt: skip
def test_options_as_localai_writes_them(entry: str, flag: tuple[str, str]) -> None:
    assert split_flag(entry) == flag


@pytest.mark.parametrize(
    "keys",
    [
        {"engine_args": {"max_num_seqs": 4, "kv_transfer_config": {"kv_role": "both"}}},
        {"max_model_len": 512, "tensor_parallel_size": 2, "gpu_memory_utilization": 0.5, "enforce_eager": True},
        {"quantization": "awq", "load_format": "auto", "trust_remote_code": True, "limit_mm_per_prompt": {"image": 2}},
        {"lora_adapter": "adapter", "options": ("--max-num-seqs=4",), "parameters": ModelFile(tokenizer="other")},
    ],
)
def test_what_it_reads_costs_no_note(keys: dict[str, Any]) -> None:
    assert notes(**keys) == []


@pytest.mark.parametrize(
    ("keys", "said", "is_fault"),
    [
        ({"engine_args": {"model": "x"}}, "`model` cannot be an engine argument; say `parameters.model`", True),
        ({"engine_args": {"trust_remote_code": True}}, "beside `engine_args`", True),
        ({"options": ("--trust-remote-code",)}, "`trust_remote_code` cannot be an option", True),
        ({"options": ("tool_parser:hermes",)}, "`tool_parser` is needless", False),
        ({"lora_adapters": ("a", "b")}, "one adapter to a request", True),
        ({"lora_scale": 0.5}, "`lora_scale` is not read by the vllm backend", True),
        ({"swap_space": 4.0}, "vLLM has no `swap_space` any more", False),
        ({"rope_freq_base": 1e6}, "`rope_freq_base` is not read by the vllm backend", True),
        ({"gpu_layers": 99}, "`gpu_layers` is not read by the vllm backend", False),
        ({"embeddings": True, "reranking": True}, "remove one of the two", True),
    ],
)
def test_what_it_does_not_honour_is_said(keys: dict[str, Any], said: str, is_fault: bool) -> None:
    ((text, fault),) = notes(**keys)
    assert said in text and fault == is_fault


def test_its_own_key_for_the_context_comes_first() -> None:
    config = ModelConfig(name="m", backend="vllm", parameters=ModelFile(model="none"), models_path="/nowhere")
    assert traits.context_length(config) is None
    both = ModelConfig(
        name="m", backend="vllm", parameters=ModelFile(model="none"), models_path="/", max_model_len=9, context_size=7
    )
    assert traits.context_length(both) == 9


def test_the_checks_need_no_library() -> None:
    code = "import sys; import localai_flask.backends.vllm.key_checks; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert backends.BACKENDS["vllm"].checks == "localai_flask.backends.vllm.key_checks"
