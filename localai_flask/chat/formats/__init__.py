"""How models write their tool calls: one entry for each syntax that can be read back."""

from __future__ import annotations

from localai_flask.chat.formats import hermes
from localai_flask.chat.formats.base import ParsedCall, ToolFormat

TOOL_FORMATS: dict[str, ToolFormat] = {"hermes": hermes.FORMAT}

__all__ = ["TOOL_FORMATS", "ParsedCall", "ToolFormat"]
