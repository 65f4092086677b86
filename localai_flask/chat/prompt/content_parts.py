"""Chat templates that read a message's content as a list of parts only, as those of many models that see do."""

from __future__ import annotations

import functools
from typing import Any

from localai_flask.chat.prompt.jinja import render as jinja
from localai_flask.errors import ConfigError, InvalidRequest

NEEDLE = "some words"


@functools.lru_cache(maxsize=64)
def wants_parts(template: str) -> bool:
    """Return whether a template passes over content that is a text, and writes what stands in parts."""
    return not _writes(template, NEEDLE) and _writes(template, in_parts(NEEDLE))


def in_parts(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}] if content else []


def _writes(template: str, content: Any) -> bool:
    variables = {"messages": [{"role": "user", "content": content}], "add_generation_prompt": False}
    try:
        return NEEDLE in jinja.render(template, {"tools": None, "bos_token": "", "eos_token": "", **variables})
    except (ConfigError, InvalidRequest):
        return False
