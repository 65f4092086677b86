"""The fields of other servers that nothing here honours, with the reason: refused by name, or hints that do no harm."""

from __future__ import annotations

from typing import Any

from localai_flask.api.request.foreign.fates import ASKS_NOTHING, OOBA, Fate, Hint, Refusal

NOT_YET = "is not supported by this server; leave it out."
NO_SAMPLER = "is a way to sample that no engine here has."
IN_YAML = "cannot be chosen by a request; it stands in the model's YAML."
TEXT_PARTS = "is about how special tokens are written, which this server leaves out of answers."
LOADING = "belongs to loading the model; its YAML says it."
SPEED = "changes how fast an answer comes, not what it says."
SHAPE = "is about the shape of another server's answers."
MOST_SLOTS = 256
"""Of a context of llama.cpp's."""
INT32_MAX = 2**31 - 1


def _refused(reason: str, names: str, of: str, *harmless: Any) -> dict[str, Fate]:
    """Refuse all but what asks for nothing, and further values that are the usual ones."""
    fate = Refusal(reason=reason, harmless=(*ASKS_NOTHING, *harmless), servers=of)
    return dict.fromkeys(names.split(), fate)


def _unless_true(reason: str, names: str, of: str) -> dict[str, Fate]:
    return dict.fromkeys(names.split(), Refusal(reason=reason, harmless=(True,), servers=of))


def _hint(reason: str, names: str, of: str, within: tuple[int, int] | None = None) -> dict[str, Fate]:
    return dict.fromkeys(names.split(), Hint(reason=reason, servers=of, within=within))


SAMPLING: dict[str, Fate] = {
    **_refused(NO_SAMPLER, "tfs tfs_z tfz", "Ollama, KoboldCpp, LocalAI", 1),
    **_refused(
        NO_SAMPLER, "top_a smoothing_factor epsilon_cutoff eta_cutoff penalty_alpha skew repetition_decay",
        f"{OOBA}, KoboldCpp, TabbyAPI",
    ),
    **_refused(NO_SAMPLER, "rep_pen_slope encoder_repetition_penalty smoothing_curve", "KoboldCpp", 1),
    **_refused(NO_SAMPLER, "use_beam_search early_stopping token_healing watermark", "vLLM, TabbyAPI, TGI"),
    **_refused(NO_SAMPLER, "num_beams length_penalty", "vLLM, Transformers", 1),
    **_refused(
        NO_SAMPLER, "logits_processors custom_logit_processor custom_params logit_bias_exp sequence_bias vllm_xargs",
        "vLLM, SGLang",
    ),
    **_refused("is not possible: samplers may leave a single token.", "min_keep", "llama-server", 1),
    **_refused(NOT_YET, "negative_prompt", "LocalAI"),
    **_refused("needs a second prompt, which no engine here reads.", "guidance_scale cfg_scale", OOBA, 1),
    **_unless_true(
        "is not possible: line breaks are penalized like all other tokens.", "penalize_newline penalize_nl", "Ollama"
    ),
    **_refused("bans a list of its own; send `banned_strings`.", "use_default_badwordsids", "KoboldCpp"),
    **_refused(
        "ends answers at repetitions; send `dry_multiplier` or `no_repeat_ngram_size`.", "repetition_detection", "vLLM"
    ),
    **_refused("looks for patterns; `stop` takes texts.", "stop_regex", "SGLang"),
    **_refused("ends lines by their indentation.", "n_indent", "llama-server"),
}  # fmt: skip
FORMS: dict[str, Fate] = {
    **_refused("is not supported by this server; send `tools`.", "grammar_json_functions", "LocalAI"),
    **_refused("is not possible: each answer begins its grammar anew.", "grammar_retain_state", "KoboldCpp"),
    **_refused("begins a form in mid-answer; send `tools`.", "grammar_lazy grammar_triggers", "llama-server"),
    **_refused("is decided here: a few spaces and line breaks.", "guided_whitespace_pattern", "vLLM"),
}
PROMPTS: dict[str, Fate] = {
    **_unless_true("is not possible: thoughts come as they are made.", "stream_reasoning", "SGLang"),
    **_refused(
        "is decided by the model's template; send `chat_template_kwargs`.", "thinking_forced_open generation_prompt",
        "llama-server",
    ),
    **_refused(
        f"{IN_YAML} Or send `chat_template`.", "template prompt_template instruction_template character",
        f"{OOBA}, TabbyAPI, Ollama",
    ),
    **_refused(
        "is not known here; put it into a message.", "safe_prompt memory preset context name1 name2",
        f"Mistral, KoboldCpp, {OOBA}",
    ),
    **_refused("is another way to ask than a chat's.", "mode", OOBA, "instruct"),
    **_refused("is not possible here; send `reasoning_effort` or `enable_thinking`.", "prompt_mode", "Mistral"),
    **_refused(
        "begins the answer; send it as the last message, the assistant's, with `continue_final_message`.",
        "response_prefix", "TabbyAPI",
    ),
    **_refused(
        "cuts the prompt, which this server does not do in this way; send a shorter one.",
        "truncate_prompt_tokens prompt_truncate_len transforms", "vLLM, Fireworks, OpenRouter",
    ),
    **_refused(
        "cuts the prompt; a long one is refused here.", "context_length_exceeded_behavior", "Fireworks", "error"
    ),
    **_refused(
        "is for writing the middle of a text; send `suffix`.", "input_prefix input_suffix input_extra", "llama-server"
    ),
    **_refused(
        "says how images are made smaller, which the model's YAML decides (with vLLM: `engine_args`).",
        "mm_processor_kwargs media_io_kwargs",
        "vLLM",
    ),
    **_refused("is not possible: a template's documents go into a message.", "documents", "vLLM, Cohere"),
    **_refused("keeps what is cached apart; send `cache_prompt: false`.", "cache_salt", "vLLM"),
    **_refused("is not done by this server.", "plugins search_parameters enable_search", "OpenRouter, xAI, DashScope"),
    **_refused(IN_YAML, "backend", "LocalAI"),
    **_refused(
        "is not read; an adapter is a model of its own, whose name goes into `model`.",
        "lora_path lora_request adapters adapter_id", "vLLM, SGLang, TGI",
    ),
    **_refused(NOT_YET, "n_keep", "LocalAI, llama-server"),
    **_refused(
        "cannot be set by a request; it belongs to loading the model.", "rope_freq_base rope_freq_scale", "LocalAI"
    ),
    **_refused("is for servers that share a model's memory.", "kv_transfer_params session_params", "vLLM, SGLang"),
}  # fmt: skip
ANSWERS: dict[str, Fate] = {
    **_unless_true(TEXT_PARTS, "skip_special_tokens", "vLLM, SGLang"),
    **_refused(TEXT_PARTS, "render_special", "KoboldCpp"),
    **_refused(
        "tells the ids of tokens; /v1/tokenize does.", "return_tokens return_token_ids return_tokens_as_token_ids",
        "llama-server, vLLM",
    ),
    **_refused("tells chances after sampling; `logprobs` are those before.", "post_sampling_probs", "llama-server"),
    **_refused("is for prompts of completions; send `echo` with `logprobs` there.", "prompt_logprobs", "vLLM"),
    **_refused(
        "tells what no engine here does.", "return_hidden_states return_routed_experts details decoder_input_details",
        "SGLang, TGI",
    ),
    **_refused("leaves fields out, which this server never does.", "response_fields", "llama-server"),
}  # fmt: skip
OTHER_FAMILIES: dict[str, Fate] = {
    **_refused(
        "is a field of another API; send a message with the role `system`.", "system instructions system_prompt",
        "Anthropic, Open Responses",
    ),
    **_refused("is for completions.", "suffix echo", "OpenAI's completions"),
    **_refused("is for completions.", "best_of", "OpenAI's completions", 1),
    **_refused("is not possible here: there is one answer.", "n", "OpenAI", 1),
    **_refused("is for /v1/responses.", "previous_response_id conversation background", "Open Responses"),
    **_refused("is for /v1/responses.", "truncation", "Open Responses", "disabled"),
    **_refused("is not told by this API.", "logprobs top_logprobs", "OpenAI"),
    **_refused("is not told by this API.", "timings_per_token", "llama-server"),
    **_refused(
        "is for chats; a completion's prompt is taken as it is.",
        "enable_thinking reasoning_effort thinking_budget reasoning_budget_message chat_template chat_template_kwargs",
        "chats", "none",
    ),
}  # fmt: skip
REFUSED: dict[str, Fate] = {**SAMPLING, **FORMS, **PROMPTS, **ANSWERS, **OTHER_FAMILIES}
HINTS: dict[str, Fate] = {
    **_hint(
        LOADING, "num_ctx num_batch num_gpu main_gpu use_mmap use_mlock num_thread numa low_vram f16_kv vocab_only",
        "Ollama",
    ),
    **_hint(
        LOADING, "num_keep context_length max_context_length truncation_length", f"Ollama, LM Studio, KoboldCpp, {OOBA}"
    ),
    **_hint(SPEED, "id_slot", "llama-server", within=(-1, MOST_SLOTS - 1)),
    **_hint(SPEED, "n_cache_reuse n_discard", "llama-server", within=(0, INT32_MAX)),
    **_hint(
        "is about prompts that take long; `timeout` is for all of a request.", "t_max_prompt_ms", "llama-server",
        within=(-1, INT32_MAX),
    ),
    **_hint(
        "is about the silence of streams, in which this server says twice a second that it is there.",
        "sse_ping_interval", "llama-server", within=(-1, INT32_MAX),
    ),
    **_hint(
        SPEED, "slot_id speculative speculative_ngram draft_model backend_sampling",
        "llama-server, TabbyAPI, LM Studio",
    ),
    **_hint(
        SPEED, "prompt_lookup_num_tokens static_cache max_tokens_second guided_decoding_backend", f"{OOBA}, vLLM"
    ),
    **_hint(
        SHAPE, "verbose parse_tool_calls preserved_tokens reasoning_split tool_stream stream_interval quiet",
        "llama-server, MiniMax, GLM, SGLang, KoboldCpp",
    ),
    **_hint(SHAPE, "perf_metrics_in_response return_cached_tokens_details genkey", "Fireworks, SGLang, KoboldCpp"),
    **_hint("is how samplers run anyway; `samplers` says another order.", "temperature_last", OOBA),
    **_hint(TEXT_PARTS, "spaces_between_special_tokens", "vLLM"),
    **_hint("means nothing without `dynamic_temperature`.", "dynatemp_low dynatemp_high min_temp max_temp", OOBA),
    **_hint("is about which server answers.", "models provider route request_id session_id rid", "OpenRouter, vLLM"),
}  # fmt: skip
