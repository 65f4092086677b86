"""Where a model is asked elsewhere: the server's address, the model's name there, and the key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

PATHS = ("/chat/completions", "/completions", "/embeddings", "/rerank", "/models")
"""What addresses may end with that name one of the server's endpoints."""


class Target(NamedTuple):
    """`base` is the address below which the endpoints are."""

    base: str
    model: str
    key: str

    @property
    def host(self) -> str:
        return urlsplit(self.base).netloc


def read_target(config: EngineConfig) -> Target:
    """Find out where to ask; raise `ConfigError` if the key is not where the YAML says."""
    address = config.proxy.upstream_url.rstrip("/")
    for path in PATHS:
        address = address.removesuffix(path)
    if not urlsplit(address).path:
        address += "/v1"
    model = config.proxy.upstream_model or config.parameters.model or config.name
    return Target(address, model, _read_key(config))


def _read_key(config: EngineConfig) -> str:
    key = _find_key(config)
    if not (key.isascii() and key.isprintable()):  # a client of HTTP would quote the whole header in its error
        place = "api_key_env" if config.proxy.api_key_env else "api_key_file"
        said = f"Model {config.name}: what `proxy.{place}` names is no key, as it is not one line of ASCII; correct it."
        raise ConfigError(said, param="proxy")
    return key


def _find_key(config: EngineConfig) -> str:
    proxy = config.proxy
    if proxy.api_key_env:
        if not (key := os.environ.get(proxy.api_key_env, "").strip()):
            said = f"Model {config.name}: `proxy.api_key_env` names {proxy.api_key_env}, which is not set; set it."
            raise ConfigError(said, param="proxy")
        return key
    if not proxy.api_key_file:
        return ""
    try:
        return Path(proxy.api_key_file).expanduser().read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        said = f"Model {config.name}: `proxy.api_key_file` cannot be read ({type(error).__name__}); check its path."
        raise ConfigError(said, param="proxy") from error
