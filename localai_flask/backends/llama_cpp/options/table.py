"""The options of LocalAI's llama.cpp table: names, kinds, defaults, meanings, and why some have no effect.

What parses `options:`, what suggests a name, and the documentation's table all read this one. Knows no config.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from localai_flask.backends.llama_cpp.options import kinds as kinds
from localai_flask.backends.llama_cpp.options.kinds import CACHE_TYPE, FILE, FLAG, NAMES, SIZES, Kind, only, real, whole

_ANSWERS = {
    *("context_shift", "pooling_type", "embd_normalize", "use_jinja", "prefill_assistant", "reasoning_format"),
    *("reasoning_budget", "enable_reasoning"),
}


@dataclass(frozen=True, slots=True)
class Option:
    """One option; `field` is where its value goes if that has another name, `in_vain` why it has no effect here.

    One that changes what is answered (`is_answer`) is refused if its value cannot be honoured; others are passed over.
    """

    name: str
    aliases: tuple[str, ...]
    kind: Kind
    default: Any
    meaning: str
    field: str = ""
    in_vain: str = ""
    is_answer: bool = False


def _option(
    names: str, kind: Kind, default: Any, meaning: str, *, field: str = "", prefix: str = "", in_vain: str = ""
) -> Option:
    """Make an option from its names, separated by blanks; `prefix` makes one more name of each."""
    name, *aliases = names.split()
    aliases += [prefix + each for each in (name, *aliases) if prefix]
    return Option(name, tuple(aliases), kind, default, meaning, field or name, in_vain, name in _ANSWERS)


_SPECULATION = (
    *("none", "draft-simple", "draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark"),
    *("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache"),
)
_OWN_PROGRAMS = "llama.cpp gives the inner states that it needs to its own programs only"
_STATISTICS = "its files of statistics are those of llama.cpp's own programs"
NOT_HERE = {
    **dict.fromkeys(("draft-mtp", "draft-eagle3", "draft-dflash", "draft-dspark"), _OWN_PROGRAMS),
    "ngram-cache": _STATISTICS,
}
"""Ways of llama.cpp to guess ahead that are not offered here, and why."""

ENGINE_OPTIONS = (
    _option("parallel n_parallel", whole(1, 256), None, "requests in one batch (by memory, at most 16)"),
    _option("n_ubatch ubatch", whole(1), None, "tokens computed at once, at most `batch`"),
    _option("threads_batch n_threads_batch", whole(-1), None, "threads for prompts; 0: all cores (measured)"),
    _option("cont_batching continuous_batching", FLAG, True,
            "requests join those that run; false: they wait until all of these have ended"),
    _option("context_shift", FLAG, False, "drop the oldest part of a full context instead of ending the answer"),
    _option(
        "cache_ram", kinds.mebibytes(unlimited=True), None, "memory for idle prompts that left the cache",
        field="cache_ram_bytes",
    ),
    _option("cache_disk", kinds.mebibytes(), None, "disk for idle prompts, which outlive the server; 0: none",
            field="cache_disk_bytes"),
    _option("cache_reuse n_cache_reuse", whole(0), 256, "shortest part of a prompt, in tokens, that is reused shifted"),
    _option("slot_prompt_similarity sps", real(0, 1), 0.1, "share of a prompt that must be cached to go on from it",
            field="slot_similarity"),
    _option("cache_idle_slots idle_slots_cache", FLAG, True, "keep idle prompts in `cache_ram`"),
    _option("ctx_checkpoints n_ctx_checkpoints", whole(0), 32, "saved states per slot of recurrent and window models"),
    _option(
        "checkpoint_min_step checkpoint_min_spacing checkpoint_every_nt checkpoint_every_n_tokens", whole(1), 256,
        "fewest tokens between two of them",
    ),
    _option("n_rs_seq rs_seq", whole(0), 0, "states per recurrent sequence to which it can be rolled back"),
    _option("swa_full", FLAG, False, "keep everything in sliding-window layers, which makes prompts reusable"),
    _option("warmup", FLAG, True, "compute a token at load, and measure threads"),
    _option("check_tensors", FLAG, False, "look for invalid numbers in the weights at load"),
    _option("no_op_offload", FLAG, False, "keep operations on the host's tensors off the GPU"),
    _option("fit_params fit", FLAG, True, "lower `context_size` and `parallel`, where not given, to what memory holds"),
    _option("fit_params_target fit_target", SIZES, (1024 << 20,), "memory to leave free, per device",
            field="fit_target_bytes"),
    _option("fit_params_min_ctx fit_ctx", whole(1), 4096, "least `context_size` to fit", field="fit_context"),
    _option("device devices", NAMES, (), "devices to use, by llama.cpp's names; none: the CPU", field="devices"),
    _option("split_mode sm", kinds.word("none", "layer", "row", "tensor"), None, "how to share out the weights"),
    _option("override_tensor tensor_buft_overrides", NAMES, (), "`pattern=buffer type` for tensors by name"),
    _option("cpu_moe", FLAG, False, "keep all experts on the CPU"),
    _option("n_cpu_moe", whole(0), 0, "keep the experts of the first layers on the CPU"),
    _option("rpc_servers grpc_servers", NAMES, (), "`host:port` of other machines' workers"),
    _option("pooling_type pooling", kinds.word("none", "mean", "cls", "last", "rank"), None,
            "how embeddings become one (the model's)"),
    _option("embd_normalize embedding_normalize", whole(-1), 2,
            "-1: none, 0: largest to int16, 1: taxicab, 2: length 1, more: p-norm"),
    _option("mmproj_use_gpu mmproj_offload", FLAG, True, "encode images on the GPU, if there is one"),
    _option("image_min_tokens", whole(1), None, "fewest tokens of an image, where the model takes any size"),
    _option("image_max_tokens", whole(1), None, "most tokens of an image, where the model takes any size"),
    _option("verbosity", whole(-1), None, "llama.cpp's messages: 0 none, 1 errors, 2 warnings, 3 and more all"),
)  # fmt: skip
"""Options whose values are fields of `EngineOptions`."""

SPECULATION_OPTIONS = (
    _option("spec_type speculative_type", kinds.words(*_SPECULATION, draft="draft-simple", eagle3="draft-eagle3"), (),
            "how to guess ahead; with `draft_model`: draft-simple"),
    _option("spec_n_max draft_max", whole(1), None, "most tokens to guess (with a draft model: 3)"),
    _option("spec_n_min draft_min", whole(0), 0, "fewest tokens to guess"),
    _option("spec_p_min draft_p_min", real(0, 1), 0.0, "least probability of a guessed token"),
    _option("spec_p_split", real(0, 1), 0.1, "", in_vain="guesses do not branch here"),
    _option("spec_ngram_size_n ngram_size_n", whole(1), 12, "tokens to look up"),
    _option("spec_ngram_size_m ngram_size_m", whole(1), 48, "tokens to take over"),
    _option("spec_ngram_min_hits ngram_min_hits", whole(1), 1, "times that they must have been seen"),
    _option("spec_ngram_mod_n_match", whole(1), 24, "the same for ngram-mod"),
    _option("spec_ngram_mod_n_min", whole(0), 48, "the same for ngram-mod"),
    _option("spec_ngram_mod_n_max", whole(1), 64, "the same for ngram-mod"),
    *(
        _option(f"spec_ngram_{each}_{what}", whole(1), default, f"the same for ngram-{each.replace('_', '-')}")
        for each in ("map_k", "map_k4v")
        for what, default in (("size_n", 12), ("size_m", 48), ("min_hits", 1))
    ),
    _option("lookup_cache_static spec_lookup_cache_static", FILE, None, "", in_vain=_STATISTICS),
    _option("lookup_cache_dynamic spec_lookup_cache_dynamic", FILE, None, "", in_vain=_STATISTICS),
    _option("draft_gpu_layers", whole(-1), None, "layers of the draft model on the GPU", prefix="spec_"),
    _option("draft_ctx_size", whole(0), None, "", prefix="spec_",
            in_vain="the draft model gets as much context as the model"),
    _option("draft_cache_type_k", CACHE_TYPE, None, "its cache's type", prefix="spec_"),
    _option("draft_cache_type_v", CACHE_TYPE, None, "its cache's type", prefix="spec_"),
    _option("draft_threads", whole(-1), None, "its threads", prefix="spec_"),
    _option("draft_threads_batch", whole(-1), None, "its threads for prompts", prefix="spec_"),
    _option("draft_cpu_moe", FLAG, False, "keep its experts on the CPU", prefix="spec_"),
    _option("draft_n_cpu_moe", whole(0), 0, "keep the experts of its first layers on the CPU", prefix="spec_"),
    _option("draft_override_tensor", NAMES, (), "`pattern=buffer type` for its tensors", prefix="spec_"),
)  # fmt: skip
"""Options whose values are fields of `SpeculationOptions`."""

OTHER_OPTIONS = (
    _option("direct_io use_direct_io", FLAG, False, "read the file past the system's cache"),
    _option("kv_unified unified_kv", FLAG, True,
            "nothing: slots share prompts in one cache, and each has its own `context_size`"),
    _option("use_jinja jinja", only(True, "chat templates are Jinja"), True, "the model's chat template is used"),
    _option("prefill_assistant", only(False, "requests say so themselves, by continue_final_message"), False,
            "an answer begins anew after a last message of the assistant, unless a request says otherwise"),
    _option("reasoning_format", kinds.word("auto", "deepseek"), "auto", "thinking goes to a field of its own"),
    _option("reasoning_budget", whole(-1), None, "tokens a model may think; -1: no limit"),
    _option("enable_reasoning", FLAG, None, "the same as `reasoning_budget`: -1 if true, 0 if false"),
    _option("gpu", FLAG, None, "nothing: `gpu_layers` decides"),
)  # fmt: skip
"""Options that describe what is the case anyway, and those that mean nothing here."""

OPTIONS = ENGINE_OPTIONS + SPECULATION_OPTIONS + OTHER_OPTIONS
BY_NAME = {name: option for option in OPTIONS for name in (option.name, *option.aliases)}
