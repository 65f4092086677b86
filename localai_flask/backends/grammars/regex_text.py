"""Regular expressions (in Rust's syntax) for a text that is written with some characters escaped, or without them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import regex

from localai_flask.errors import InvalidRequest

CONTROLS = "".join(map(chr, range(0x20)))
JSON_ESCAPES: Mapping[str, str] = {char: json.dumps(char)[1:-1] for char in CONTROLS + '"\\'}
"""How characters are written in a JSON string that cannot stand there themselves."""

_ATOM = regex.compile(
    r"""
    (?P<group> \( (?: \?P?<\w+> | \?(?P<flags>[a-zA-Z-]*)(?P<scope>[:)]) )? )
    | (?P<close> \) )
    | (?P<operator> [|^$] | [*+?]\?? | \{\d*,?\d*\}\?? )
    | (?P<atom>
        \\[pP]\{[^}]*\} | \\x[0-9A-Fa-f]{2} | \\[xuU]\{[0-9A-Fa-f]+\} | \\u[0-9A-Fa-f]{4} | \\U[0-9A-Fa-f]{8} | \\.
        | (?P<class> \[ \^? \]? (?: \\. | [^\[\]\\] | (?&class) )* \] )
        | .
      )
    """,
    regex.VERBOSE | regex.DOTALL,
)
_OPEN_END = regex.compile(r"\)*[*+?{][)*+?{}\d,]*(?:\|.*)?", regex.DOTALL)
_BRACED = regex.compile(r"\\[xuU]\{([0-9A-Fa-f]+)\}")


@dataclass(frozen=True, slots=True)
class Writing:
    """How a text is written: some characters as their `escapes`; those whose escape is "" cannot stand in it."""

    escapes: Mapping[str, str]

    def literal(self, text: str) -> str:
        """Return a text as it is written."""
        return "".join(self.escapes.get(char) or char for char in text)

    def expression(self, source: str, flags: str = "") -> str:
        """Return the expression for what `source` matches, as it is written."""
        return "".join(self._pieces(source, _with_flags("", flags)))

    def ends_open(self, source: str, flags: str = "") -> bool:
        """Return whether what matches may go on with one more escape, which could be what follows it as well."""
        for found in _ATOM.finditer(source):
            if found["atom"] is None or not _OPEN_END.fullmatch(source, found.end()):
                continue
            if any(escape and _matches(found["atom"], char, flags) for char, escape in self.escapes.items()):
                return True
        return False

    def begins_escaped(self, source: str, flags: str = "") -> bool:
        """Return whether what matches may begin with an escape."""
        options = regex.V1 | _options(flags)
        pattern = regex.compile(_BRACED.sub(_code, source), options)
        return any(escape and pattern.fullmatch(char, partial=True) for char, escape in self.escapes.items())

    def _pieces(self, source: str, flags: str) -> Iterator[str]:
        outer: list[str] = []
        for found in _ATOM.finditer(source):
            if found["atom"] is not None:
                yield self._atom(found["atom"], flags)
                continue
            yield found.group() if found["flags"] is None else ("(?:" if found["scope"] == ":" else "")
            if found["close"] is not None:
                flags = outer.pop()
            elif found["group"] is not None and found["scope"] != ")":
                outer.append(flags)
            if found["flags"] is not None:
                flags = _with_flags(flags, found["flags"])

    def _atom(self, atom: str, flags: str) -> str:
        """Return the expression for one character of those that an atom matches."""
        is_any = atom == "."
        found = {char for char in self.escapes if _matches(atom, char, flags)}
        plain = f"(?i:{atom})" if "i" in flags else atom
        if is_any or found:
            without = "".join(f"\\x{ord(char):02x}" for char in (*self.escapes, *("\n" if is_any else "")))
            inner = f"[^{without}]" if is_any else f"[{atom}&&[^{without}]]"
            plain = f"(?i:{inner})" if "i" in flags else inner
        escaped = list(_escapes_in(sorted(filter(None, (self.escapes[char] for char in found)))))
        return f"(?:{'|'.join([plain, *escaped])})" if escaped else plain


def _with_flags(flags: str, change: str) -> str:
    on, _, off = change.partition("-")
    if "x" in on:
        raise InvalidRequest("the flag `x` of a regular expression cannot be kept here")
    return "".join(sorted((set(flags) | set(on)) - set(off)))


def _options(flags: str) -> int:
    return int((regex.DOTALL if "s" in flags else 0) | (regex.IGNORECASE if "i" in flags else 0))


def _code(found: regex.Match[str]) -> str:
    return f"\\U{int(found[1], 16):08x}"


def _matches(atom: str, char: str, flags: str) -> bool:
    """Return whether an atom of an expression matches a character."""
    try:
        return regex.fullmatch(_BRACED.sub(_code, atom), char, regex.V1 | _options(flags)) is not None
    except (regex.error, ValueError, OverflowError):
        raise InvalidRequest(f"the part {atom!r} of a regular expression cannot be kept here") from None


def _escapes_in(escapes: Iterable[str]) -> Iterator[str]:
    """Yield expressions for escapes that begin alike: those with one character, and the codes of two rows."""
    for begin in ("\\", "\\u000", "\\u001"):
        ends = "".join(escape[-1] for escape in escapes if escape[:-1] == begin)
        if ends:
            yield regex.escape(begin) + "[" + "".join(f"\\{end}" if end in '\\"' else end for end in ends) + "]"
