"""The keys that a server knows, found by what a client sends.

Kept by their SHA-256, which takes a microsecond at each request. A slow function would protect texts that can be
guessed; the keys of the file are 256 random bits (`new_secret`), and those of the environment are never written down.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from localai_flask.keys.key import Key

PREFIX = "sk-"
"""How keys begin at OpenAI; some clients refuse others, and scanners for leaked secrets look for it."""


def new_secret() -> str:
    """Make what a client is to send."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


class Keyring:
    """Keys by the digest of their secret."""

    def __init__(self, keys: Mapping[str, Key] = MappingProxyType({})):
        self._keys = keys

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> Keyring:
        """Hold keys that were given as they are: each may do everything, as LocalAI's may."""
        digests = map(digest, texts)
        return cls({each: Key(f"#{n}", admin=True, keeper=each) for n, each in enumerate(digests, start=1)})

    def __or__(self, other: Keyring) -> Keyring:
        return Keyring({**self._keys, **other._keys})

    def __len__(self) -> int:
        return len(self._keys)

    def of_keeper(self, keeper: str) -> Key | None:
        """Return the key whose holder keeps what is stored under this name, if it still is one."""
        return next((key for key in self._keys.values() if key.keeper == keeper), None)

    def find(self, secret: str) -> Key | None:
        """Return the key that a text is, if it is one.

        Texts are looked up by digest and never compared, so the time this takes shows nothing of a key: a client cannot
        choose a text by its digest.
        """
        return self._keys.get(digest(secret))
