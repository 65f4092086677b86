"""Lines of clients' system prompts that differ from request to request and tell a model nothing.

A prompt that begins with one would find nothing of itself in the prefix cache.
"""

from __future__ import annotations

import re
from typing import Any

VOLATILE = (
    re.compile(r"x-anthropic-billing-header:[^\n]*\n?"),  # Claude Code: its version with a hash of the conversation
)
"""What such lines look like, at the beginning of a text."""


def without_volatile_lines(system: Any) -> Any:
    """Return a system prompt, text or blocks, without such lines; a block that has nothing else goes too."""
    if isinstance(system, str):
        return _cleaned(system)
    if not isinstance(system, list):
        return system
    blocks = []
    for block in system:
        text = block.get("text") if isinstance(block, dict) else None
        cleaned = _cleaned(text) if isinstance(text, str) else text
        if cleaned == text:
            blocks.append(block)
        elif cleaned:
            blocks.append({**block, "text": cleaned})
    return blocks


def _cleaned(text: str) -> str:
    for line in VOLATILE:
        text = line.sub("", text, count=1) if line.match(text) else text
    return text
