"""The options of a model's YAML that programs have as flags: the one table of their names.

What is not in it is no option: files may come from galleries, and a program has flags that open other doors.
"""

from __future__ import annotations

VALUES = {
    "--cache-ram": "cache_ram",
    "--cache-reuse": "cache_reuse n_cache_reuse",
    "--cache-ram-similarity": "cache_ram_similarity crs",
    "--checkpoint-min-step": "checkpoint_min_step checkpoint_min_spacing",
    "--ctx-checkpoints": "ctx_checkpoints n_ctx_checkpoints",
    "--ctx-checkpoints-interval": "ctx_checkpoints_interval",
    "--defrag-thold": "defrag_thold",
    "--device": "device devices",
    "--embd-normalize": "embd_normalize embedding_normalize",
    "--fit-target": "fit_params_target fit_target",
    "--fit-ctx": "fit_params_min_ctx fit_ctx",
    "--fit-margin": "fit_margin",
    "--keep": "keep",
    "--n-cpu-moe": "n_cpu_moe ncmoe",
    "--override-tensor": "override_tensor tensor_buft_overrides ot",
    "--poll": "poll",
    "--pooling": "pooling_type pooling",
    "--rpc": "rpc_servers grpc_servers",
    "--slot-prompt-similarity": "slot_prompt_similarity sps",
    "--split-mode": "split_mode sm",
    "--spec-type": "spec_type speculative_type",
    "--threads-batch": "threads_batch n_threads_batch",
    "--ubatch-size": "n_ubatch ubatch ubatch_size",
    "--n-gpu-layers-draft": "draft_gpu_layers spec_draft_gpu_layers",
    "--ctx-size-draft": "draft_ctx_size spec_draft_ctx_size",
    "--cache-type-k-draft": "draft_cache_type_k spec_draft_cache_type_k",
    "--cache-type-v-draft": "draft_cache_type_v spec_draft_cache_type_v",
    "--threads-draft": "draft_threads spec_draft_threads",
    "--draft-p-min": "spec_p_min draft_p_min",
    "--draft-min": "spec_n_min draft_min",
    "--verbosity": "verbosity",
    # ik_llama.cpp's own.
    "--attention-max-batch": "attention_max_batch amb",
    "--cache-type-k-first": "cache_type_k_first",
    "--cache-type-k-last": "cache_type_k_last",
    "--cache-type-v-first": "cache_type_v_first",
    "--cache-type-v-last": "cache_type_v_last",
    "--dsa-top-k": "dsa_top_k",
    "--graph-attn-precision": "graph_attn_precision gap",
    "--graph-reduce-type": "graph_reduce_type grt",
    "--max-extra-alloc": "max_extra_alloc mea",
    "--max-gpu": "max_gpu",
    "--mla-use": "mla_use mla mla_attn",
    "--offload-policy": "offload_policy op",
    "--prefetch-experts-threads": "prefetch_experts_threads",
    "--smart-expert-reduction": "smart_expert_reduction ser",
    "--worst-graph-tokens": "worst_graph_tokens wgt",
}
"""Flags with a value, and the options that set them."""
SWITCHES = {
    "--cache-idle-slots": "cache_idle_slots idle_slots_cache",
    "--check-tensors": "check_tensors",
    "--cont-batching": "cont_batching continuous_batching",
    "--context-shift": "context_shift",
    "--cpu-moe": "cpu_moe cmoe",
    "--fit": "fit_params fit",
    "--kv-unified": "kv_unified unified_kv",
    "--no-op-offload": "no_op_offload",
    "--repack": "repack",
    "--swa-full": "swa_full",
    "--warmup": "warmup",
    # ik_llama.cpp's own.
    "--defer-experts": "defer_experts",
    "--dsa": "dsa",
    "--fused-indexer-topk": "fused_indexer_topk fidx",
    "--fused-moe": "fused_moe fmoe",
    "--fused-mul-multiadd": "fused_mul_multiadd mmad",
    "--fused-up-gate": "fused_up_gate fug",
    "--graph-reuse": "graph_reuse gr",
    "--grouped-expert-routing": "grouped_expert_routing ger",
    "--k-cache-hadamard": "k_cache_hadamard khad",
    "--merge-qkv": "merge_qkv mqkv",
    "--merge-up-gate-experts": "merge_up_gate_experts muge",
    "--offload-only-active-experts": "offload_only_active_experts ooae",
    "--prefetch-experts": "prefetch_experts",
    "--run-time-repack": "run_time_repack rtr",
    "--scheduler-async": "scheduler_async sas",
    "--split-mode-graph-scheduling": "split_mode_graph_scheduling smgs",
    "--spec-autotune": "spec_autotune",
    "--swa-compress": "swa_compress",
    "--transparent-huge-pages": "transparent_huge_pages thp",
    "--v-cache-hadamard": "v_cache_hadamard vhad",
    "--validate-quants": "validate_quants vq",
}
"""Flags without one: true sets the flag, and false the one with `--no-` that may be beside it."""
OF_ITSELF = ("parallel", "n_parallel")
PASSED_OVER = ("use_jinja", "jinja", "gpu", "reasoning_format", "reasoning_budget", "enable_reasoning")
"""Options of llama.cpp's engine that the server in front of this one honours, or that say what is the case."""
BY_OPTION = {name: flag for table in (VALUES, SWITCHES) for flag, names in table.items() for name in names.split()}
