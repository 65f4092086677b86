"""Regular expressions out of YAML: compiled once, and run for a limited time.

The syntax is that of Python with Go's extras; whoever writes a model's YAML is trusted, but not never to err.
"""

from __future__ import annotations

import functools

import regex

from localai_flask.errors import ConfigError

TIMEOUT_S = 1.0
"""Processor time that one search may take."""
_LOOK_AROUND = regex.compile(r"(?<!\\)(?:\\\\)*\(\?<?[=!]")
_WORD_EDGE = regex.compile(r"(?<!\\)(?:\\\\)*\\[bB]")
_MULTI_LINE = regex.compile(r"\(\?[a-zA-Z]*m")
_PARTS = regex.compile(r"\\.|\[\^?\]?(?:\\.|\[:\^?\w+:\]|[^\]\\])*\]|\$", regex.DOTALL)
"""What is escaped, sets of characters, and the end of the text."""


@functools.lru_cache(maxsize=512)
def compiled(source: str) -> regex.Pattern[str]:
    """Compile a regular expression; raises `ValueError` with what is wrong."""
    if _LOOK_AROUND.search(source):
        raise ValueError("has a look-around, which Go's regular expressions do not have")
    # Go means the very end of the text by `\z`, and by `$` where that does not mean the end of each line.
    ends = {r"\z"} if _MULTI_LINE.search(source) else {r"\z", "$"}
    try:
        return regex.compile(_PARTS.sub(lambda part: r"\Z" if part.group() in ends else part.group(), source))
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"is no regular expression ({error})") from None


def looks_ahead(source: str) -> bool:
    """Return whether a match may depend on the character behind it, as at the end of a word."""
    return bool(_WORD_EDGE.search(source))


def too_slow(key: str, source: str) -> ConfigError:
    """Make the error for an expression that did not end in its time."""
    return ConfigError(
        f"The regular expression {source!r} of `{key}` took longer than {TIMEOUT_S:g} s; simplify it.", param=key
    )
