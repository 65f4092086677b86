"""The llama.cpp engine's options: every name of LocalAI's table is known, and read with its meaning or passed over."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from localai_flask.config.model import ModelConfig
from localai_flask.errors import ConfigError
from localai_flask.settings import Settings

pytest.importorskip("llama_cpp")

from localai_flask.backends.llama_cpp.options.options import EngineOptions, SpeculationOptions, read_options
from localai_flask.backends.llama_cpp.options.table import (
    BY_NAME,
    ENGINE_OPTIONS,
    OPTIONS,
    SPECULATION_OPTIONS,
)

LOCALAI = re.findall(
    r"\w+",
    """
context_shift use_jinja jinja cache_ram parallel n_parallel grpc_servers rpc_servers fit_params fit fit_params_target
fit_target fit_params_min_ctx fit_ctx n_cache_reuse cache_reuse n_rs_seq rs_seq slot_prompt_similarity sps swa_full
cont_batching continuous_batching check_tensors warmup no_op_offload device devices split_mode sm kv_unified unified_kv
n_ctx_checkpoints ctx_checkpoints cache_idle_slots idle_slots_cache checkpoint_min_step checkpoint_min_spacing
checkpoint_every_nt checkpoint_every_n_tokens n_ubatch ubatch threads_batch n_threads_batch pooling_type pooling
embd_normalize embedding_normalize verbosity direct_io use_direct_io reasoning_format enable_reasoning reasoning_budget
prefill_assistant mmproj_use_gpu mmproj_offload image_min_tokens image_max_tokens override_tensor tensor_buft_overrides
cpu_moe n_cpu_moe spec_type speculative_type spec_n_max draft_max spec_n_min draft_min spec_p_min draft_p_min
spec_p_split spec_ngram_size_n ngram_size_n spec_ngram_size_m ngram_size_m spec_ngram_min_hits ngram_min_hits
spec_ngram_mod_n_min spec_ngram_mod_n_max spec_ngram_mod_n_match spec_ngram_map_k_size_n spec_ngram_map_k_size_m
spec_ngram_map_k_min_hits spec_ngram_map_k4v_size_n spec_ngram_map_k4v_size_m spec_ngram_map_k4v_min_hits
spec_lookup_cache_static lookup_cache_static spec_lookup_cache_dynamic lookup_cache_dynamic draft_gpu_layers
draft_ctx_size draft_cache_type_k draft_cache_type_v spec_draft_cache_type_k spec_draft_cache_type_v draft_threads
draft_threads_batch spec_draft_threads spec_draft_threads_batch draft_cpu_moe draft_n_cpu_moe spec_draft_cpu_moe
spec_draft_n_cpu_moe draft_override_tensor gpu
""",
)


def read(*options: str, settings: Settings | None = None, **config) -> EngineOptions:
    return read_options(ModelConfig(name="tiny", options=options, **config), settings or Settings())


def refusal(*options: str, **config) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*options, **config)
    return str(caught.value)


@pytest.mark.parametrize("name", LOCALAI)
def test_every_option_of_localai_is_known(name):
    assert name in BY_NAME


def test_the_table_fits_the_structs_and_names_nothing_twice():
    names = [name for option in OPTIONS for name in (option.name, *option.aliases)]
    assert len(names) == len(set(names))
    engine = {field.name for field in dataclasses.fields(EngineOptions)}
    speculation = {field.name for field in dataclasses.fields(SpeculationOptions)}
    assert {option.field for option in ENGINE_OPTIONS} <= engine
    assert {option.field for option in SPECULATION_OPTIONS} == speculation - {"draft_model"}


def test_defaults_are_localais():
    options = read()
    assert (options.cache_ram_bytes, options.cache_reuse, options.context_shift) == (None, 256, False)
    assert (options.ctx_checkpoints, options.checkpoint_min_step, options.cache_idle_slots) == (32, 256, True)
    assert (options.slot_similarity, options.swa_full, options.warmup) == (0.1, False, True)
    assert (options.fit_params, options.fit_target_bytes, options.fit_context) == (True, (1 << 30,), 4096)
    assert (options.embd_normalize, options.pooling_type, options.parallel) == (2, None, None)
    assert (options.n_batch, options.n_ubatch, options.flash_attention) == (512, None, "auto")
    assert options.speculation.spec_type == () and options.speculation.draft_model is None


@pytest.mark.parametrize(
    ("entry", "field", "value"),
    [
        ("cache_ram:2048", "cache_ram_bytes", 2 << 30),
        ("cache_ram:-1", "cache_ram_bytes", None),
        ("n_cache_reuse:0", "cache_reuse", 0),
        ("context_shift", "context_shift", True),
        ("context_shift : ON ", "context_shift", True),
        ("idle_slots_cache:disabled", "cache_idle_slots", False),
        ("checkpoint_every_n_tokens:17", "checkpoint_min_step", 17),
        ("sps:0.5", "slot_similarity", 0.5),
        ("fit_target:512/1024", "fit_target_bytes", (512 << 20, 1 << 30)),
        ("fit_ctx:512", "fit_context", 512),
        ("grpc_servers:a:1,b:2", "rpc_servers", ("a:1", "b:2")),
        ("devices:CUDA0, CUDA1", "devices", ("CUDA0", "CUDA1")),
        ("sm:row", "split_mode", "row"),
        ("pooling:CLS", "pooling_type", "cls"),
        ("--cache-reuse:8", "cache_reuse", 8),
        ("--no-op-offload", "no_op_offload", True),
    ],
)
def test_entries_are_read_with_their_meaning(entry, field, value):
    assert getattr(read(entry), field) == value


def test_speculation_is_read():
    assert read(draft_model="d.gguf", models_path="/m", n_draft=7).speculation.draft_model == Path("/m/d.gguf")
    assert read(draft_model="d.gguf").speculation.spec_type == ("draft-simple",)
    assert read(n_draft=7).speculation.spec_n_max == 7
    speculation = read(
        "spec_type:draft,ngram_mod", "draft_max:5", "spec_draft_cache_type_k:q8_0", draft_model="d.gguf"
    ).speculation
    assert speculation.spec_type == ("draft-simple", "ngram-mod")
    assert (speculation.spec_n_max, speculation.draft_cache_type_k) == (5, 8)


def test_yaml_wins_over_the_environment():
    settings = Settings(llamacpp_parallel=6, llamacpp_grpc_servers=("far:1",), threads=3)
    assert (read(settings=settings).parallel, read(settings=settings).rpc_servers) == (6, ("far:1",))
    assert read("parallel:2", "rpc_servers:near:1", settings=settings).parallel == 2
    assert read("parallel:2", "rpc_servers:near:1", settings=settings).rpc_servers == ("near:1",)
    assert (read(settings=settings).threads, read(settings=settings, threads=1).threads) == (3, 1)


def test_the_environments_names_are_localais(monkeypatch):
    monkeypatch.setenv("LLAMACPP_PARALLEL", "5")
    monkeypatch.setenv("LLAMACPP_GRPC_SERVERS", "a:1,b:2")
    settings = Settings.from_environment()
    assert (settings.llamacpp_parallel, settings.llamacpp_grpc_servers) == (5, ("a:1", "b:2"))


def test_yaml_keys_become_parameters():
    options = read(
        cache_type_k="q8_0",
        cache_type_v="bf16",
        rope_freq_base=1e6,
        yarn_beta_fast=16.0,
        tensor_split="3/1",
        main_gpu="1",
        numa="true",
        f16=False,
        n_keep=9,
    )
    assert (options.cache_type_k, options.cache_type_v) == (8, 30)
    assert options.rope == {"rope_freq_base": 1e6, "yarn_beta_fast": 16.0}
    assert (options.tensor_split, options.main_gpu, options.numa, options.n_keep) == ((3, 1), 1, "distribute", 9)
    assert (read(f16=False).cache_type_k, read(f16=True).cache_type_v) == (0, 1)


def test_adapters_are_paired_with_their_scales():
    options = read(models_path="/m", lora_adapter="a", lora_scale=0.5, lora_adapters=("b", "c"), lora_scales=(2.0,))
    assert options.adapters == ((Path("/m/a"), 0.5), (Path("/m/b"), 2.0), (Path("/m/c"), 1.0))


def test_what_has_no_effect_is_logged_and_left_at_its_default(caplog):
    options = read(
        "paralel:4", "parallel:many", "warmup:perhaps", main_gpu="cuda.0", tensor_split="a", cache_type_k="q"
    )
    assert options == read()
    assert caplog.text.count("model tiny: ") == 6


def test_a_quantised_cache_has_flash_attention_whatever_is_said():
    assert read(cache_type_v="q4_0", flash_attention="off").flash_attention == "auto"
    assert read(cache_type_v="f32", flash_attention="off").flash_attention == "off"


def test_what_would_change_answers_is_refused_by_name():
    assert "the option reasoning_format:none is none of: auto, deepseek." in refusal("reasoning_format:none")
    assert "`lora_scales` has more entries than `lora_adapters`" in refusal(lora_scales=(1.0,))


PAGE = Path(__file__).parents[2] / "docs" / "llama-cpp.md"
MARKS = re.compile(r"(?<=<!-- options -->\n).*(?=<!-- /options -->)", re.DOTALL)


def table() -> str:
    rows = ["| option | value | default | meaning |", "|---|---|---|---|"]
    for option in OPTIONS:
        names = ", ".join(f"`{name}`" for name in (option.name, *option.aliases))
        if option.in_vain:
            rows.append(f"| {names} | | | nothing, as {option.in_vain} |")
        else:
            rows.append(f"| {names} | {option.kind.shown} | {_shown(option.default)} | {option.meaning} |")
    return "\n".join(rows) + "\n"


def _shown(default: object) -> str:
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return ", ".join(str(size >> 20) for size in default)
    return str(default).lower() if isinstance(default, bool) else str(default)


def test_the_documented_table_is_current():
    found = MARKS.search(PAGE.read_text())
    assert found is not None
    assert found.group() == table(), "run: python -m tests.engine.test_llama_cpp_options"


if __name__ == "__main__":
    PAGE.write_text(MARKS.sub(lambda _: table(), PAGE.read_text()))
