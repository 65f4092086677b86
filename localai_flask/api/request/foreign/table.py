"""Fields that llama-server, vLLM, SGLang, Ollama, text-generation-webui, TabbyAPI, KoboldCpp and others have.

One table for all families. A field that a family has itself is read there and not by this table. What stands for a
field that a family has not is refused.
"""

from __future__ import annotations

from localai_flask.api.request.foreign import conversions as read
from localai_flask.api.request.foreign.conversions import Read, as_field, when
from localai_flask.api.request.foreign.fates import OOBA, Fate, Honoured
from localai_flask.api.request.foreign.refused import HINTS, REFUSED

CONTAINERS = ("options", "extra_body", "nvext")
"""Objects whose entries mean what they would outside: Ollama's, what the OpenAI package spreads, and NVIDIA's."""


def _same(ours: str, names: str, of: str, said: str = "") -> dict[str, Fate]:
    """Let names stand for a field of ours, whose values they take."""
    return _read(as_field(ours), f"`{ours}`", names, of, said)


def _read(how: Read, means: str, names: str, of: str, said: str = "") -> dict[str, Fate]:
    return {name: Honoured(read=how, means=means, said=said, servers=of) for name in names.split()}


LENGTH: dict[str, Fate] = {
    **_read(
        read.token_limit, "`max_tokens`", "n_predict", "llama-server", "-1: until the context is full, 0: `prompt_only`"
    ),
    **_same("max_tokens", "num_predict", "Ollama", "-1, -2: until the context is full"),
    **_same("max_tokens", "max_new_tokens", f"{OOBA}, TGI, SGLang"),
    **_same("max_tokens", "max_length", "KoboldCpp, TabbyAPI"),
    **_same("max_tokens", "max_output_tokens max_completion_tokens", "OpenAI's other APIs"),
    **_read(when(true={"max_tokens": -1}), "`max_tokens: -1`", "auto_max_new_tokens", OOBA),
    **_same("min_tokens", "min_length min_new_tokens", "TabbyAPI, SGLang"),
    **_read(read.seconds_as_ms, "`t_max_predict_ms`", "max_time", "Transformers", "in seconds"),
}
STOPS: dict[str, Fate] = {
    **_same("stop", "stop_sequence", "KoboldCpp, TabbyAPI"),
    **_same("stop", "stop_sequences", "Anthropic, TGI, Cohere"),
    **_same("stop", "stop_words stopping_strings", f"NVIDIA, {OOBA}"),
    **_read(read.list_in_text("stop"), "`stop`", "custom_stopping_strings", OOBA, "also as text"),
    **_same("include_stop_str_in_output", "no_stop_trim", "SGLang"),
    **_read(
        when(false={"include_stop_str_in_output": True}),
        *("`include_stop_str_in_output`", "trim_stop", "KoboldCpp", "the other way round"),
    ),
    **_same("ignore_eos", "ban_eos_token bypass_eos", f"{OOBA}, KoboldCpp"),
}
TOKENS: dict[str, Fate] = {
    **_read(
        read.banned_tokens,
        *(
            "`logit_bias` of -100, or `banned_strings`",
            "banned_tokens custom_token_bans",
            f"KoboldCpp, TabbyAPI, {OOBA}",
        ),
        "ids, or texts",
    ),
    **_same("allowed_token_ids", "allowed_tokens", "TabbyAPI"),
}
SAMPLING: dict[str, Fate] = {
    **_same("temperature", "temp", "TabbyAPI"),
    **_same("typical_p", "typical typ_p", "KoboldCpp, TabbyAPI, llama-server"),
    **_same("top_n_sigma", "nsigma", "TabbyAPI, KoboldCpp"),
    **_same("repeat_penalty", "repetition_penalty", f"vLLM, SGLang, OpenRouter, {OOBA}"),
    **_same("repeat_penalty", "rep_pen", "KoboldCpp"),
    **_same("repeat_last_n", "rep_pen_range penalty_range repetition_range", "KoboldCpp, TabbyAPI"),
    **_read(read.number_or_all("repeat_last_n"), "`repeat_last_n`", "repetition_penalty_range", OOBA, "0: all"),
    **_same("dry_penalty_last_n", "dry_range", "TabbyAPI"),
    **_same("mirostat", "mirostat_mode", f"{OOBA}, TabbyAPI"),
    **_same("mirostat_tau", "mirostat_target", "Fireworks"),
    **_same("mirostat_eta", "mirostat_lr", "Fireworks"),
    **_same("dynatemp_exponent", "temp_exponent", "TabbyAPI"),
    **_same("seed", "sampler_seed random_seed", "KoboldCpp, Mistral"),
    **_read(read.no_sampling, "`temperature: 0` if false", "do_sample", f"{OOBA}, TGI"),
    **_read(read.sampler_order, "`samplers`", "sampler_order", "KoboldCpp", "by numbers"),
    **_read(read.list_in_text("samplers"), "`samplers`", "sampler_priority", OOBA, "also as text"),
    **_read(read.dynamic_temperature, "nothing, if false", "dynamic_temperature", OOBA),
}
THINKING: dict[str, Fate] = {
    **_same("thinking_budget", "reasoning_budget reasoning_budget_tokens thinking_budget_tokens", "llama-server"),
    **_same("thinking_budget", "thinking_token_budget", "vLLM"),
    **_same("thinking_budget", "max_thinking_tokens", "NVIDIA"),
    **_read(read.thinking, "`enable_thinking`, `thinking_budget`", "thinking", "DeepSeek, GLM, Kimi, Anthropic"),
    **_read(read.think, "`enable_thinking` or `reasoning_effort`", "think", "Ollama"),
    **_read(
        read.reasoning,
        *("`enable_thinking`, `reasoning_effort`, `thinking_budget`, `include_reasoning`", "reasoning", "OpenRouter"),
        "an object of `enabled`, `effort`, `max_tokens`, `exclude`",
    ),
    **_read(when(false={"reasoning_format": "none"}), "`reasoning_format: none`", "separate_reasoning", "SGLang",
            "if false"),
    **_same("chat_template_kwargs", "template_vars chat_template_args", "TabbyAPI, NVIDIA"),
    **_same("chat_template", "instruction_template_str", OOBA),
}  # fmt: skip
ANSWERS: dict[str, Fate] = {
    **_read(read.count_of("logprobs"), "`logprobs`", "n_probs", "llama-server"),
    **_same("n", "n_cmpl num_return_sequences", "llama-server, Transformers"),
    **_read(read.usage, "`stream_options.include_usage`", "usage", "OpenRouter"),
    **_same("keep_alive", "ttl", "LM Studio"),
}
HONOURED: dict[str, Fate] = {**LENGTH, **STOPS, **TOKENS, **SAMPLING, **THINKING, **ANSWERS}
TABLE: dict[str, Fate] = {**HONOURED, **REFUSED, **HINTS}
