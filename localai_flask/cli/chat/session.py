"""A conversation on the terminal: model, messages and settings, as they are sent and saved."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.cli.exit_codes import CommandFailed

SETTINGS = (
    *("temperature", "top_p", "top_k", "min_p", "typical_p", "top_n_sigma", "xtc_probability", "xtc_threshold"),
    *("dynatemp_range", "dynatemp_exponent", "mirostat", "mirostat_tau", "mirostat_eta", "dry_multiplier", "dry_base"),
    *("dry_allowed_length", "dry_penalty_last_n", "repeat_penalty", "repeat_last_n", "frequency_penalty"),
    *("presence_penalty", "seed", "max_tokens", "stop", "reasoning_effort", "thinking_budget", "grammar"),
    *("response_format", "chat_template_kwargs", "keep_alive", "timeout", "priority"),
    *("adaptive_target", "adaptive_decay", "dry_sequence_breakers", "samplers", "no_repeat_ngram_size", "logit_bias"),
    *("allowed_token_ids", "bad_words", "banned_strings", "stop_token_ids", "include_stop_str_in_output", "min_tokens"),
    *("ignore_eos", "t_max_predict_ms", "cache_prompt"),
)
"""Fields of a chat completion that `/set` knows; the server checks their values."""


class Message(msgspec.Struct):
    role: str
    content: str


class Session(msgspec.Struct):
    """One conversation; this is also the form of the files that `/save` writes."""

    model: str = ""
    system: str = ""
    settings: dict[str, Any] = {}
    messages: list[Message] = []

    def request(self) -> dict[str, Any]:
        """Return the request for the next answer."""
        messages = [Message("system", self.system), *self.messages] if self.system else self.messages
        body = {
            "messages": [msgspec.to_builtins(message) for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.settings,
        }
        return {"model": self.model, **body} if self.model else body

    def save(self, path: Path) -> None:
        """Write the conversation to a file, which nobody else may read."""
        content = msgspec.json.format(msgspec.json.encode(self), indent=2)
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(content + b"\n")
        except OSError as error:
            raise CommandFailed(f"{path} cannot be written: {error.strerror}.") from error

    @classmethod
    def load(cls, path: Path) -> Session:
        """Read a conversation that was saved."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise CommandFailed(f"{path} cannot be read: {error.strerror}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise CommandFailed(f"{path} is no saved conversation ({error}); /save writes one.") from error


def unknown_setting(name: str) -> str:
    """Return the sentence that says that there is no such setting, and which ones may be meant."""
    near = get_close_matches(name, SETTINGS, n=2)
    hint = f"perhaps {' or '.join(near)} is meant" if near else f"there are {', '.join(SETTINGS)}"
    return f"There is no setting {name!r}; {hint}."


def read_setting(text: str) -> Any:
    """Read a value as JSON where it is some, else as text: 0.7, true, ["END"], low."""
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text
