"""For each row of the page of compatibility, a request that has the field, and the same without it."""

from __future__ import annotations

from typing import Any

from localai_flask.sampling_params import wanted_fields

TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}
ANTHROPIC_TOOL = {"name": "f", "input_schema": {"type": "object"}}
RESPONSES_TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}

Without = dict[str, Any]
Effect = tuple[Any, Without]
"""The field's value, and what else both requests have."""


def _sampling() -> dict[str, Effect]:
    """Return a value for each parameter that is not its default."""
    special: dict[str, Any] = {
        "temperature": 0.3, "top_p": 0.5, "repeat_penalty": 1.5, "dry_base": 2, "dry_sequence_breakers": ["x"],
        "seed": 7,
        "typical_p": 0.5, "samplers": ["temperature", "top_k"], "stop": "END", "logit_bias": {"5": 3}, "top_k": 3,
        "cache_prompt": False, "mirostat": 2, "dynatemp_exponent": 0.5, "mirostat_tau": 3, "adaptive_decay": 0.5,
        "dry_allowed_length": 5, "dry_penalty_last_n": 9, "repeat_last_n": 9, "stop_token_ids": [5],
        "allowed_token_ids": [5], "bad_words": ["x"], "banned_strings": ["x"], "ignore_eos": True,
        "include_stop_str_in_output": True, "max_tokens": 3,
    }  # fmt: skip
    whole = {"no_repeat_ngram_size": 2, "min_tokens": 2, "t_max_predict_ms": 5}
    effects: dict[str, Effect] = {name: (special.get(name, whole.get(name, 0.5)), {}) for name in wanted_fields()}
    return effects | {"lora": ([{"id": 0, "scale": 0.5}], {}), "prompt_only": (True, {})}


FORMS: dict[str, Effect] = {
    "grammar": ('root ::= "a"', {}),
    "guided_json": (SCHEMA, {}),
    "guided_regex": ("a+", {}),
    "guided_choice": (["a", "b"], {}),
    "guided_grammar": ('root ::= "a"', {}),
    "json_schema": (SCHEMA, {}),
    "regex": ("a+", {}),
    "regex_pattern": ("a+", {}),
    "ebnf": ('root ::= "a"', {}),
    "grammar_string": ('root ::= "a"', {}),
    "format": ("json", {}),
    "structured_outputs": ({"regex": "a+"}, {}),
    "response_format": (FORMAT, {}),
}
WAITING: dict[str, Effect] = {
    "priority": (3, {}),
    "timeout": (55, {}),
    "keep_alive": ("7m", {}),
}
STREAMS: dict[str, Effect] = {
    "stream": (True, {}),
    "return_progress": (True, {"stream": True}),
}
TIMED: dict[str, Effect] = {"timings_per_token": (True, {"stream": True})}
THINKING: dict[str, Effect] = {
    "enable_thinking": (False, {}),
    "reasoning_effort": ("high", {}),
    "thinking_budget": (5, {}),
    "reasoning_control": (True, {}),
    "reasoning_budget_message": ("Enough.", {"thinking_budget": 5}),
    "include_reasoning": (False, {}),
    "reasoning_format": ("none", {}),
    "chat_template_kwargs": ({"x": "said"}, {}),
    "chat_template": ("{{ messages[0].content }}!", {}),
}
OPENAI: dict[str, Effect] = {
    **_sampling(), **FORMS, **WAITING, **STREAMS,
    "model": ("other", {}),
    "n": (2, {}),
    "stream_options": ({"include_usage": True}, {"stream": True}),
}  # fmt: skip
ASSISTANT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]
CHAT: dict[str, Effect] = {
    **OPENAI, **THINKING, **TIMED,
    "messages": ([{"role": "user", "content": "Bye"}], {}),
    "max_completion_tokens": (3, {}),
    "logprobs": (True, {}),
    "top_logprobs": (2, {"logprobs": True}),
    "metadata": ({"enable_thinking": "false"}, {}),
    "tools": ([TOOL], {}),
    "tool_choice": ("none", {"tools": [TOOL]}),
    "parallel_tool_calls": (True, {"tools": [TOOL]}),
    "functions": ([TOOL["function"]], {}),
    "function_call": ("none", {"functions": [TOOL["function"]]}),
    "add_generation_prompt": (False, {}),
    "continue_final_message": (True, {"messages": ASSISTANT}),
}  # fmt: skip
COMPLETION: dict[str, Effect] = {
    **OPENAI,
    **TIMED,
    "prompt": ("Bye", {}),
    "best_of": (2, {}),
    "echo": (True, {}),
    "logprobs": (1, {}),
    "suffix": ("the end", {}),
}
EMBEDDING: dict[str, Effect] = {
    **WAITING,
    "model": ("other", {}),
    "input": ("Bye", {}),
    "dimensions": (4, {}),
    "encoding_format": ("base64", {}),
    "truncate": (True, {}),
    "truncate_prompt_tokens": (2, {}),
}
COUNT: dict[str, Effect] = {
    **THINKING,
    "model": ("other", {}),
    "messages": ([{"role": "user", "content": "Bye"}], {}),
    "system": ("Be brief.", {}),
    "tools": ([ANTHROPIC_TOOL], {}),
    "tool_choice": ({"type": "none"}, {"tools": [ANTHROPIC_TOOL]}),
    "thinking": ({"type": "disabled"}, {}),
    "output_config": ({"effort": "high"}, {}),
    "context_management": (
        {"edits": [{"type": "clear_thinking_20251015"}]},
        {
            "messages": [
                part
                for said in ("a", "b")
                for part in (
                    {"role": "user", "content": said},
                    {"role": "assistant", "content": [{"type": "thinking", "thinking": f"t{said}", "signature": ""}]},
                )
            ]
            + [{"role": "user", "content": "Bye"}]
        },
    ),
}
MESSAGE: dict[str, Effect] = {
    **_sampling(), **FORMS, **WAITING, **STREAMS, **COUNT,
    "max_tokens": (3, {}),
    "stop_sequences": (["END"], {}),
    "output_format": ({"type": "json_schema", "schema": SCHEMA}, {}),
    "cache_control": ({"type": "ephemeral"}, {}),
}  # fmt: skip
RESPONSE: dict[str, Effect] = {
    **_sampling(), **FORMS, **WAITING, **STREAMS, **THINKING,
    "model": ("other", {}),
    "input": ("Bye", {}),
    "instructions": ("Be brief.", {}),
    "max_output_tokens": (3, {}),
    "max_tool_calls": (1, {}),
    "top_logprobs": (2, {}),
    "include": (["message.output_text.logprobs"], {}),
    "store": (False, {}),
    "background": (True, {}),
    "metadata": ({"a": "b"}, {}),
    "user": ("me", {}),
    "safety_identifier": ("me", {}),
    "prompt_cache_key": ("me", {}),
    "reasoning": ({"effort": "high"}, {}),
    "text": ({"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}, {}),
    "text_format": ({"type": "json_object"}, {}),
    "tools": ([RESPONSES_TOOL], {}),
    "tool_choice": ("none", {"tools": [RESPONSES_TOOL]}),
    "parallel_tool_calls": (False, {"tools": [RESPONSES_TOOL]}),
    "allowed_tools": (["g"], {"tools": [RESPONSES_TOOL, {**RESPONSES_TOOL, "name": "g"}]}),
    "truncation": ("auto", {}),
}  # fmt: skip
OLLAMA: dict[str, Effect] = {
    **_sampling(), **FORMS, **WAITING, **STREAMS, **THINKING,
    "model": ("other", {}),
    "options": ({"num_predict": 7}, {}),
    "think": (False, {}),
    "logprobs": (True, {}),
    "top_logprobs": (2, {"logprobs": True}),
}  # fmt: skip
OLLAMA_CHAT: dict[str, Effect] = {
    **OLLAMA,
    "messages": ([{"role": "user", "content": "Bye"}], {}),
    "tools": ([TOOL], {}),
    "parallel_tool_calls": (True, {"tools": [TOOL]}),
    "system": ("Be brief.", {}),
}
OLLAMA_GENERATE: dict[str, Effect] = {
    **OLLAMA,
    "prompt": ("Bye", {}),
    "suffix": ("the end", {}),
    "system": ("Be brief.", {}),
    "raw": (True, {}),
}
OLLAMA_EMBED: dict[str, Effect] = {
    **WAITING,
    "model": ("other", {}),
    "input": ("Bye", {}),
    "dimensions": (4, {}),
    "truncate": (False, {}),
}
OLLAMA_EMBEDDINGS: dict[str, Effect] = {
    **WAITING,
    "model": ("other", {}),
    "prompt": ("Bye", {}),
    "truncate": (False, {}),
}
PREDICATE = {"type": "predicate", "instructions": "It is well."}
DECISION: dict[str, Effect] = {
    **WAITING,
    "model": ("other", {}),
    "input": ("Bye", {}),
    "questions": ([{"type": "predicate", "instructions": "It is not."}], {}),
    "permutations": (2, {}),
}
MODERATION: dict[str, Effect] = {**WAITING, "model": ("other", {}), "input": (["Bye", "Hi"], {})}
BODIES: dict[str, tuple[dict[str, Any], dict[str, Effect]]] = {
    "/v1/decisions": ({"input": "Hi", "questions": [PREDICATE]}, DECISION),
    "/v1/moderations": ({"input": "Hi"}, MODERATION),
    "/v1/chat/completions": ({"messages": [{"role": "user", "content": "Hi"}]}, CHAT),
    "/v1/completions": ({"prompt": "Hi"}, COMPLETION),
    "/v1/embeddings": ({"input": "Hi there"}, EMBEDDING),
    "/v1/messages": ({"max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}, MESSAGE),
    "/v1/messages/count_tokens": ({"messages": [{"role": "user", "content": "Hi"}]}, COUNT),
    "/v1/responses": ({"input": "Hi"}, RESPONSE),
    "/api/chat": ({"messages": [{"role": "user", "content": "Hi"}], "stream": False}, OLLAMA_CHAT),
    "/api/generate": ({"prompt": "Hi", "stream": False}, OLLAMA_GENERATE),
    "/api/embed": ({"input": "Hi there"}, OLLAMA_EMBED),
    "/api/embeddings": ({"prompt": "Hi there"}, OLLAMA_EMBEDDINGS),
}
"""By path: the plain request, and the effect of each field."""
