"""A folder's tokenizer.json, read by the `tokenizers` library alone, behind the names that transformers gives it.

Importing transformers would bring torch where that is installed too: 760 MB instead of 20.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from localai_flask.backends.hugging_face.folder import about
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError, ModelLoadFailed

FILE, SETTINGS = "tokenizer.json", "tokenizer_config.json"


class FolderTokenizer:
    """What `backends.hugging_face.tokens` asks of a tokenizer."""

    def __init__(self, backend: Tokenizer, settings: dict[str, Any]):
        self.backend_tokenizer = backend
        self.added_tokens_decoder: dict[int, AddedToken] = backend.get_added_tokens_decoder()
        self.bos_token, self.eos_token = _text(settings.get("bos_token")), _text(settings.get("eos_token"))
        self.bos_token_id = self._id(self.bos_token)
        self.eos_token_id = self._id(self.eos_token)

    def encode(
        self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False, verbose: bool = False
    ) -> list[int]:
        self.backend_tokenizer.encode_special_tokens = split_special_tokens
        ids: list[int] = self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(
        self, ids: list[int], *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        return str(self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def convert_ids_to_tokens(self, token: int) -> str | None:
        found: str | None = self.backend_tokenizer.id_to_token(token)
        return found

    @property
    def all_special_ids(self) -> list[int]:
        return [token for token, added in self.added_tokens_decoder.items() if added.special]

    def _id(self, token: str) -> int | None:
        found: int | None = self.backend_tokenizer.token_to_id(token) if token else None
        return found


def read_tokenizer(config: EngineConfig, folder: Path) -> FolderTokenizer:
    """Read the tokenizer; raise `ModelLoadFailed` if there is none that can be read."""
    path = folder / FILE
    if not path.exists():
        raise ModelLoadFailed(f"{about(config)} finds no {FILE} in {folder}; put the original model's there.")
    try:
        backend = Tokenizer.from_file(str(path))
        settings = read_json(folder / SETTINGS) if (folder / SETTINGS).exists() else {}
    except ConfigError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise ModelLoadFailed(f"{about(config)} cannot read {path}: {error}; download it again.") from error
    backend.no_truncation()
    backend.no_padding()
    return FolderTokenizer(backend, settings)


def _text(token: Any) -> str:
    """Return a token's text, which files write alone or with its properties."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""
