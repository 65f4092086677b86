"""Grammars of texts that stand within something else: in a JSON string, or before a mark that ends them.

In a JSON string every terminal is written with JSON's escapes, so that nothing in it can be the quote that ends the
string; before another mark the text stands as it is. A grammar without recursion is one regular language then, and one
terminal. Those of any other grammar are read one after the other, and none looks ahead: before a mark they do without
its first character, and in a JSON string no text may go on with an escape where the next could begin with one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence

import regex

from localai_flask.backends.grammars.regex_text import JSON_ESCAPES, Writing
from localai_flask.errors import InvalidRequest

JSON_QUOTE = '"'
_TOKEN = regex.compile(
    r"""
    (?P<space> (?: [\s] | (?:\#|//)[^\n]* )+ )
    | (?P<import> %import[ \t]+common\.(?P<imported>\w+) (?:[ \t]*->[ \t]*(?P<renamed>\w+))? )
    | (?P<imports> %import[ \t]+common[ \t]*\((?P<names>[\w\s,]*)\) )
    | (?P<options> %llguidance\s*\{\s*\} )
    | (?P<ignore> %ignore )
    | (?P<from>"(?:\\.|[^"\\\n])*")\s*\.\.\s*(?P<to>"(?:\\.|[^"\\\n])*")
    | (?P<string> "(?:\\.|[^"\\\n])*" ) (?P<case>i?)
    | /(?P<regex> (?:\\.|[^/\\])+ )/(?P<flags>[imslux]*)
    | (?P<alias> ->\s*\w+ )
    | (?P<attributes> \[ \s* (?:lazy|capture) (?:\s*,\s*(?:lazy|capture))* \s* \] (?=\s*:) )
    | (?P<name> [!?]*[a-zA-Z_][\w\-]* )
    | (?P<repeat> ~\s*\d+(?:\s*\.\.\s*\d+)? | \{\s*\d*\s*,?\s*\d*\s*\} )
    | (?P<sign> [:|&()\[\]+*?.] | \d+ )
    """,
    regex.VERBOSE,
)
COMMON = {
    "DIGIT": "[0-9]",
    "HEXDIGIT": "[a-fA-F0-9]",
    "INT": "[0-9]+",
    "SIGNED_INT": r"(\+|-)?[0-9]+",
    "DECIMAL": r"([0-9]+\.[0-9]*)|(\.[0-9]+)",
    "_EXP": r"[eE](\+|-)?[0-9]+",
    "FLOAT": r"([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+",
    "SIGNED_FLOAT": r"(\+|-)?(([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+)",
    "NUMBER": r"([0-9]+)|([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+",
    "SIGNED_NUMBER": r"(\+|-)?(([0-9]+)|([0-9]+\.[0-9]*|\.[0-9]+)([eE](\+|-)?[0-9]+)?|[0-9]+[eE](\+|-)?[0-9]+)",
    "ESCAPED_STRING": r'"([^"\\]|\\.)*"',
    "LCASE_LETTER": "[a-z]",
    "UCASE_LETTER": "[A-Z]",
    "LETTER": "[A-Za-z]",
    "WORD": "[A-Za-z]+",
    "CNAME": "[_A-Za-z][_A-Za-z0-9]*",
    "WS_INLINE": r"[ \t]+",
    "WS": r"[ \t\f\r\n]+",
    "CR": r"\r",
    "LF": r"\n",
    "NEWLINE": r"(\r?\n)+",
    "SH_COMMENT": r"#[^\n]*",
    "CPP_COMMENT": r"//[^\n]*",
    "C_COMMENT": r"/\*[^*]*\*+(?:[^/*][^*]*\*+)*/",
    "SQL_COMMENT": r"--[^\n]*",
}
"""What Lark's module `common` has. Source: https://github.com/lark-parser/lark/blob/master/lark/grammars/common.lark"""


def framed(text: str, end: str, is_valid: Callable[[str], bool]) -> str:
    """Return the grammar for a text that a grammar allows, and the mark behind it.

    Raises `InvalidRequest`, with the reason alone, for what cannot be kept in this place. `is_valid` says whether a
    grammar can be compiled.
    """
    is_json, mark = end == JSON_QUOTE, end.strip()
    tokens = list(_tokens(text))
    if all(token["ignore"] is None for token in tokens):
        regular = _rewritten(tokens, Writing(JSON_ESCAPES if is_json else {}), is_regular=True)
        regular += f"\nstart: FRAMED\nFRAMED: R_START {_string(end)}" if is_json else _lazy_frame(end, mark)
        if is_valid(regular):
            return regular
    if is_json:
        _check_ends(tokens, Writing(JSON_ESCAPES))
        return _rewritten(tokens, Writing(JSON_ESCAPES)) + f"\nstart: r_start {_string(end)}"
    narrowed = _rewritten(tokens, Writing({mark[0]: ""}))
    space = "/\\n?/ " if end != mark else ""
    return f"{narrowed}\nstart: r_start FRAME_END\nFRAME_END: {space}{_string(mark)}"


def _lazy_frame(end: str, mark: str) -> str:
    anything = "/(.|\\n)*/"
    return f"\nstart[lazy]: FRAMED {_string(end)}\nFRAMED: R_START & ~({anything} {_string(mark)} {anything})"


def _tokens(text: str) -> Iterator[regex.Match[str]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            line = text.count("\n", 0, at) + 1
            raise InvalidRequest(f"line {line}: {text[at:].split()[0][:20]!r} cannot be kept here")
        yield found
        at = found.end()


def _check_ends(tokens: Sequence[regex.Match[str]], writing: Writing) -> None:
    """Raise `InvalidRequest` if a terminal may go on with an escape with which another could begin as well."""
    sources = [(token, *source) for token in tokens for source in _sources(token)]
    if not any(writing.begins_escaped(source, flags) for _, source, flags in sources):
        return
    for token, source, flags in sources:
        if writing.ends_open(source, flags):
            line = token.string.count("\n", 0, token.start()) + 1
            raise InvalidRequest(
                f"line {line}: {token.group()!r} may end anywhere, which cannot be kept here in a grammar that has "
                "recursion or ignores text"
            )


def _sources(token: regex.Match[str]) -> Iterator[tuple[str, str]]:
    """Yield the regular expressions and flags of what a token stands for."""
    if token["regex"] is not None:
        yield token["regex"], token["flags"]
    elif token["string"] is not None:
        yield regex.escape(_text(token["string"])), token["case"]
    elif token["imported"] is not None:
        yield COMMON[token["imported"]], ""
    elif token["names"] is not None:
        yield from ((COMMON[name], "") for name in _names(token))


def _rewritten(tokens: Iterable[regex.Match[str]], writing: Writing, is_regular: bool = False) -> str:
    """Return a grammar in another writing; all names get a prefix, so that ours are none of them.

    With `is_regular` all rules become terminals.
    """
    return "".join(_written(token, writing, is_regular) for token in tokens)


def _written(found: regex.Match[str], writing: Writing, is_regular: bool) -> str:
    match next((kind for kind in _KINDS if found[kind] is not None), ""):
        case "string" if not found["case"]:
            return _string(writing.literal(_text(found["string"])))
        case "string":
            return as_terminal(writing.expression(regex.escape(_text(found["string"])), "i"))
        case "regex":
            return as_terminal(writing.expression(found["regex"], found["flags"]))
        case "from":
            first, last = (regex.escape(_text(found[key])) for key in ("from", "to"))
            return as_terminal(writing.expression(f"[{first}-{last}]"))
        case "import":
            return _definition(found["renamed"] or found["imported"], found["imported"], writing, is_regular)
        case "imports":
            return "\n".join(_definition(name, name, writing, is_regular) for name in _names(found))
        case "name":
            return _renamed(found["name"], is_regular)
        case "options" | "alias":
            return ""
        case "attributes" if is_regular:
            return ""
    return found.group()


_KINDS = ("from", "string", "regex", "import", "imports", "options", "alias", "attributes", "name")
"""The groups of tokens that are not written as they stand."""


def _names(token: regex.Match[str]) -> list[str]:
    return str(token["names"]).replace(",", " ").split()


def _definition(name: str, common: str, writing: Writing, is_regular: bool) -> str:
    return f"{_renamed(name, is_regular)}: {as_terminal(writing.expression(COMMON[common]))}"


def _renamed(name: str, is_regular: bool) -> str:
    name = name.lstrip("!?")
    is_terminal = name.lstrip("_")[:1].isupper()
    if is_terminal:
        return f"T_{name}"
    return f"R_{name.upper()}" if is_regular else f"r_{name}"


def _text(quoted: str) -> str:
    return str(json.loads(regex.sub(r"(?<!\\)((?:\\\\)*)\\x([0-9a-fA-F]{2})", r"\1\\u00\2", quoted)))


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def as_terminal(source: str) -> str:
    """Return a regular expression as a grammar has it."""
    return "/" + regex.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", source) + "/"
