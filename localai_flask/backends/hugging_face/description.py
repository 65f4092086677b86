"""What a folder says of its model, from the JSON files in it, without the transformers library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from localai_flask.config.files.bounded import read_json, read_text
from localai_flask.errors import ConfigError

MOST_TEMPLATE_BYTES = 1 << 20


@dataclass(frozen=True)
class Description:
    """The folder's config.json, generation_config.json and chat template."""

    folder: Path

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_json(self.folder / "config.json")

    @property
    def kind(self) -> str:
        return str(self.config.get("model_type", ""))

    @property
    def end_tokens(self) -> set[int]:
        """The ids that end a text, but for the tokenizer's own."""
        found: set[int] = set()
        for described in (self.config, self._object("generation_config.json")):
            ids = described.get("eos_token_id")
            found.update(each for each in (ids if isinstance(ids, list) else [ids]) if isinstance(each, int))
        return found

    @property
    def vocabulary_size(self) -> int | None:
        """How many logits the model computes."""
        return self._count("vocab_size")

    @property
    def cached_numbers(self) -> int:
        """How many numbers the KV cache holds for a token; 0 if the file does not say."""
        heads, layers = self._count("num_attention_heads"), self._count("num_hidden_layers")
        width = self._count("hidden_size")
        if heads is None or layers is None or width is None:
            return 0
        size = self._count("head_dim") or width // heads
        return 2 * layers * (self._count("num_key_value_heads") or heads) * size

    @cached_property
    def templates(self) -> dict[str, str]:
        """The chat templates by name; the usual one is `default`."""
        path = self.folder / "chat_template.jinja"
        found = self._object("chat_template.json").get("chat_template")
        found = self._object("tokenizer_config.json").get("chat_template", found)
        if path.exists():
            found = read_text(path, MOST_TEMPLATE_BYTES)
        if isinstance(found, str):
            return {"default": found}
        entries = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        return {str(each.get("name")): str(each.get("template")) for each in entries}

    def _count(self, key: str) -> int | None:
        inner = self.config.get("text_config")
        for described in (self.config, inner if isinstance(inner, dict) else {}):
            if isinstance(value := described.get(key), int) and value > 0:
                return value
        return None

    def _object(self, name: str) -> dict[str, Any]:
        try:
            return read_json(self.folder / name)
        except ConfigError:  # it is not there, or what it says is only of use if it can be read
            return {}
