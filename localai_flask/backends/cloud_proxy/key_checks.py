"""Keys of a model's YAML that this engine cannot honour, found without asking the server elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from localai_flask.backends.notes import Note, unknown_option, unread_keys
from localai_flask.config.model import EngineConfig

READ = frozenset(("proxy", "context_size", "embeddings", "reranking", "limit_mm_per_prompt"))
OPTIONS = ("parallel",)
PROVIDER = "openai"


def check(config: EngineConfig) -> Iterator[Note]:
    """Find all that can be said of a model's YAML before it is loaded."""
    yield from unread_keys(config, config.backend, READ)
    proxy, path = config.proxy, ("proxy", "upstream_url")
    address = _split(proxy.upstream_url)
    if not proxy.upstream_url:
        said = "`proxy.upstream_url` is missing; name the server's address, as in https://example.org/v1"
        yield Note(path, said, is_fault=True)
    elif address is None:
        yield Note(path, "`proxy.upstream_url` is no address of the web; write it as https://host/v1", is_fault=True)
    elif address.username or address.password or address.query:
        said = "`proxy.upstream_url` has a key or a query in it; name the key in `proxy.api_key_env`"
        yield Note(path, said, is_fault=True)
    if proxy.provider not in ("", PROVIDER):
        said = f"`proxy.provider: {proxy.provider}` is not supported; the server has to speak OpenAI's API"
        yield Note(("proxy", "provider"), said, is_fault=True)
    if proxy.mode not in ("", "passthrough", "translate"):
        yield Note(("proxy", "mode"), f"`proxy.mode: {proxy.mode}` has no effect: all API families are translated")
    if proxy.api_key_env and proxy.api_key_file:
        said = "`proxy.api_key_env` and `proxy.api_key_file` both name the key; remove one"
        yield Note(("proxy", "api_key_file"), said, is_fault=True)
    for index, entry in enumerate(config.options):
        name, _, value = (part.strip() for part in entry.partition(":"))
        if name not in OPTIONS:
            yield Note(("options", index), unknown_option(name, OPTIONS, config.backend))
        elif not (value.isdecimal() and int(value)):
            said = f"the option {name} is a whole number from 1 on, not {value!r}"
            yield Note(("options", index), said, is_fault=True)


def _split(address: str) -> SplitResult | None:
    """Take an address apart; None if no request can be sent there."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:  # a bracket without its other, a port beyond 65535
        return None
    is_sendable = address.isprintable() and " " not in address
    return parts if parts.scheme in ("http", "https") and parts.hostname and port != 0 and is_sendable else None
