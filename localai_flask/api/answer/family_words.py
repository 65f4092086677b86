"""What each API family calls the same things: why an answer ended, what went wrong, how tools are to be called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from localai_flask.generation import FinishReason


class FamilyWords(NamedTuple):
    """One family's words; None where it has none."""

    finish: Mapping[FinishReason, Any]
    errors: Mapping[int, str]
    """By HTTP status."""
    other_client_error: str
    other_server_error: str
    tool_choices: Mapping[str, str]
    """From a family's words for `tool_choice` to `auto`, `none` and `required`."""

    def error(self, status: int) -> str:
        """Return the word for an error of that HTTP status."""
        other = self.other_client_error if status < 500 else self.other_server_error
        return self.errors.get(status, other)

    def tool_choice(self, value: object) -> str | None:
        """Return the mode that a word stands for; None if it is no such word."""
        return self.tool_choices.get(value) if isinstance(value, str) else None


CHAT = FamilyWords(
    finish={
        FinishReason.EOS: "stop",
        FinishReason.STOP_SEQUENCE: "stop",
        FinishReason.MAX_TOKENS: "length",
        FinishReason.CONTEXT: "length",
        FinishReason.TOOL_CALLS: "tool_calls",
    },
    errors={},
    other_client_error="invalid_request_error",
    other_server_error="server_error",
    tool_choices={"auto": "auto", "none": "none", "required": "required"},
)
LEGACY_CHAT = CHAT._replace(
    finish={**CHAT.finish, FinishReason.TOOL_CALLS: "function_call"},
    tool_choices={"auto": "auto", "none": "none"},
)
"""Chat completions as they were before there were tools."""
MESSAGES = FamilyWords(
    finish={
        FinishReason.EOS: "end_turn",
        FinishReason.STOP_SEQUENCE: "stop_sequence",
        FinishReason.MAX_TOKENS: "max_tokens",
        FinishReason.CONTEXT: "model_context_window_exceeded",
        FinishReason.TOOL_CALLS: "tool_use",
    },
    errors={
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    },
    other_client_error="invalid_request_error",
    other_server_error="api_error",
    tool_choices={"auto": "auto", "none": "none", "any": "required"},
)
RESPONSES = FamilyWords(
    finish={
        FinishReason.EOS: None,
        FinishReason.STOP_SEQUENCE: None,
        FinishReason.MAX_TOKENS: "max_output_tokens",
        FinishReason.CONTEXT: "max_output_tokens",  # the specification has no word of its own for it
        FinishReason.TOOL_CALLS: None,
    },
    # OpenAI's package knows but a few codes of a failed response; all others of ours are its `server_error`.
    errors={400: "invalid_prompt", 429: "rate_limit_exceeded"},
    other_client_error="server_error",
    other_server_error="server_error",
    tool_choices=CHAT.tool_choices,
)
OLLAMA = FamilyWords(
    finish={
        FinishReason.EOS: "stop",
        FinishReason.STOP_SEQUENCE: "stop",
        FinishReason.MAX_TOKENS: "length",
        FinishReason.CONTEXT: "length",
        FinishReason.TOOL_CALLS: "stop",
    },
    errors={},  # its errors are sentences alone
    other_client_error="",
    other_server_error="",
    tool_choices={},
)
