"""From YAML to the flags of llama-server and its forks, by what their help says that they have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from localai_flask.backends import check
from localai_flask.backends.llama_server import programs
from localai_flask.backends.llama_server.flags import make_flags
from localai_flask.backends.llama_server.programs import read_help, require_program
from localai_flask.config.blocks import ModelFile
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError
from localai_flask.settings import Settings

STOCK = """----- common params -----

-h,    --help, --usage                  print usage and exit
-t,    --threads N                      number of CPU threads to use during generation (default: -1)
                                        (env: LLAMA_ARG_THREADS) --not-a-flag
-fa,   --flash-attn [on|off|auto]       set Flash Attention use ('on', 'off', or 'auto', default: 'auto')
-ctk,  --cache-type-k TYPE              KV cache data type for K
                                        allowed values: f32, f16, q8_0, turbo2, turbo3, turbo4
-ctv,  --cache-type-v TYPE              KV cache data type for V
                                        allowed values: f32, f16, q8_0, turbo2, turbo3, turbo4
-lm,   --load-mode MODE                 model loading mode (default: auto)
                                        - mmap: memory-map model
-ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM
--lora FNAME                            path to LoRA adapter
--lora-scaled FNAME:SCALE,...           path to LoRA adapter with user defined scaling
--spec-draft-n-max N                    number of tokens to draft for speculative decoding (default: 3)
--spec-draft-model, -md, --model-draft FNAME
                                        draft model
-cb,   --cont-batching, -nocb, --no-cont-batching
                                        whether to enable continuous batching
--rope-freq-base N                      RoPE base frequency
--context-shift, --no-context-shift     whether to use context shift
"""
FORK = """general:

  -h,    --help, --usage          print usage and exit
         --no-mmap                do not memory-map model
         --mlock                  force system to keep model in RAM
  -fa, --flash-attn (auto|on|off|0|1)  set Flash Attention (default: on)
  -mla,  --mla-use                enable MLA (default: 3)
  -rtr,   --run-time-repack       repack tensors if interleaved variant is available
  -no-fmoe, --no-fused-moe        disable fused MoE (default: enabled)
  -ctk,  --cache-type-k TYPE      KV cache data type for K (default: f16)
         --lora-scaled FNAME S    apply LoRA adapter with user defined scaling S (can be repeated
"""


def config(backend: str = "llama-server", **keys: Any) -> EngineConfig:
    file = ModelFile(model="m.gguf")
    return EngineConfig(name="m", backend=backend, models_path="/models", parameters=file, **keys)


def arguments(help_page: str, **keys: Any) -> str:
    made = make_flags(config(**keys), read_help(help_page), Settings())
    assert not [note for note in made.notes if note.is_fault], made.notes
    return " ".join(made.arguments)


def test_help_names_flags_at_the_beginning_of_lines_only() -> None:
    flags = read_help(STOCK).flags
    assert {"-t", "--threads", "--n-gpu-layers", "--no-cont-batching", "--model-draft"} <= flags
    assert "--not-a-flag" not in flags
    assert {"--run-time-repack", "-rtr", "--no-fused-moe", "--mlock"} <= read_help(FORK).flags


@pytest.mark.parametrize(
    ("help_page", "keys", "expected"),
    [
        (STOCK, {"context_size": 1024, "options": ("parallel:2",)}, "--ctx-size 2048 --parallel 2"),
        (STOCK, {"context_size": 1024, "options": ("--parallel:2",)}, "--ctx-size 2048 --parallel 2"),
        (STOCK, {"gpu_layers": 9, "threads": 3}, "--threads 3 --n-gpu-layers 9"),
        (STOCK, {"cache_type_k": "turbo3"}, "--cache-type-k turbo3 --flash-attn on"),
        (STOCK, {"flash_attention": "false"}, "--flash-attn off"),
        (STOCK, {"f16": False}, "--cache-type-k f32 --cache-type-v f32"),
        (STOCK, {"mmap": False}, "--load-mode none"),
        (STOCK, {"mmap": False, "mmlock": True}, "--load-mode mlock"),
        (FORK, {"mmap": False, "mmlock": True}, "--mlock --no-mmap"),
        (STOCK, {"lora_adapter": "a.gguf", "lora_scale": 0.5}, "--lora-scaled /models/a.gguf:0.5"),
        (FORK, {"lora_adapter": "a.gguf", "lora_scale": 0.5}, "--lora-scaled /models/a.gguf 0.5"),
        (STOCK, {"lora_adapters": ("a.gguf", "b.gguf"), "lora_scales": (1.0,)}, "--lora /models/a.gguf --lora"),
        (STOCK, {"draft_model": "d.gguf", "n_draft": 5}, "--model-draft /models/d.gguf --spec-draft-n-max 5"),
        (FORK, {"options": ("mla_use:2", "rtr", "fused_moe:false")}, "--mla-use 2 --run-time-repack --no-fused-moe"),
        (STOCK, {"options": ("cont_batching:false",)}, "--no-cont-batching"),
        (STOCK, {"options": ("--context-shift",)}, "--context-shift"),
        (STOCK, {}, "--no-context-shift"),
        (
            STOCK,
            {"embeddings": True, "context_size": 64},
            "--embedding --pooling mean --batch-size 64 --ubatch-size 64",
        ),
    ],
)
def test_keys_and_options_become_flags(help_page: str, keys: dict[str, Any], expected: str) -> None:
    assert expected in arguments(help_page, **keys)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"rope_freq_base": 1e6}, "has no flag --rope-freq-base, which `rope_freq_base` needs"),
        ({"draft_model": "d.gguf"}, "has no flag --model-draft, which `draft_model` needs; it has no effect"),
        ({"options": ("cpu_moe",)}, "has no flag --cpu-moe"),
    ],
)
def test_what_a_program_does_not_have_is_said(keys: dict[str, Any], said: str) -> None:
    notes = make_flags(config(**keys), read_help(FORK), Settings()).notes
    assert said in " ".join(note.text for note in notes)
    assert any(note.is_fault for note in notes) is ("rope" in said)


def test_a_cache_type_that_the_program_has_not_is_a_fault() -> None:
    made = make_flags(config(cache_type_k="q2"), read_help(STOCK), Settings())
    assert [note.text for note in made.notes if note.is_fault] == [
        "`cache_type_k: q2` is none of: f16, f32, q8_0, turbo2, turbo3, turbo4"
    ]


@pytest.mark.parametrize(
    ("keys", "said", "is_fault"),
    [
        ({"cache_type_v": "turbo4", "flash_attention": "off"}, "is read by flash attention alone", True),
        ({"options": ("mla_user:1",)}, "has no option 'mla_user'; perhaps 'mla_use' is meant", False),
        ({"options": ("api_key:x",)}, "has no option 'api_key'", False),
        ({"options": ("parallel:0",)}, "is no number from 1 to", True),
        ({"options": ("ubatch",)}, "needs a value", False),
        ({"options": ("cpu_moe:perhaps",)}, "is neither true nor false", False),
        ({"lora_scales": (1.0,)}, "has more entries than `lora_adapters`", True),
        ({"quantization": "bnb_4bit"}, "`quantization` is not read by the turboquant backend", False),
    ],
)
def test_what_is_wrong_with_a_yaml_is_found_without_the_program(
    keys: dict[str, Any], said: str, is_fault: bool
) -> None:
    notes = [note for note in check(config("turboquant", **keys)) if said in note.text]
    assert [note.is_fault for note in notes] == [is_fault]


def test_a_program_that_is_not_there_is_named_with_what_helps(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "llama-server").write_text("")
    (tmp_path / "llama-server").chmod(0o755)
    assert require_program("llama-server", Settings()) == tmp_path / "llama-server"
    with pytest.raises(ConfigError, match=r"backends install turboquant`, or name it in LOCALAI_TURBOQUANT_SERVER"):
        require_program("turboquant", Settings())  # a fork is not taken under the name of all
    with pytest.raises(ConfigError, match="LOCALAI_LLAMA_SERVER names /nowhere/llama-server, which is no file"):
        require_program("llama-server", Settings(llama_server="/nowhere/llama-server"))


def test_a_processor_without_avx2_is_told_before_the_program_starts(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(programs, "cpu_flags", lambda: frozenset({"sse2"}))
    program = tmp_path / "server"
    program.write_text("")
    settings = Settings(ik_llama_server=str(program))
    with pytest.raises(ConfigError, match="ik-llama-cpp backend needs a processor with AVX2"):
        require_program("ik-llama-cpp", settings)
