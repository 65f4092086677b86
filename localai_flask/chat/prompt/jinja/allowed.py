"""What chat templates may use of Jinja and of Python's texts, maps and lists; everything else is refused by name.

Wider than what the published templates use, and without what takes long, makes bytes, or changes by chance.
"""

from __future__ import annotations

FILTERS = frozenset(
    (
        *("abs", "batch", "capitalize", "center", "count", "d", "default", "dictsort", "e", "escape", "first", "float"),
        *("forceescape", "format", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower"),
        *("map", "max", "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr"),
        *("slice", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate", "unique", "upper"),
        "wordcount",
    )
)
TESTS = frozenset(
    (
        *("!=", "<", "<=", "==", ">", ">=", "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "even"),
        *("false", "float", "ge", "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt"),
        *("mapping", "ne", "none", "number", "odd", "sameas", "sequence", "string", "true", "undefined", "upper"),
    )
)
METHODS: dict[type, frozenset[str]] = {
    str: frozenset(
        (
            *("capitalize", "casefold", "center", "count", "endswith", "find", "format", "index", "isalnum", "isalpha"),
            *("isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join"),
            *("ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex"),
            *("rjust", "rpartition", "rsplit", "rstrip", "split", "splitlines", "startswith", "strip", "swapcase"),
            *("title", "upper", "zfill"),
        )
    ),
    dict: frozenset(("copy", "get", "items", "keys", "values")),
    list: frozenset(("append", "copy", "count", "index", "pop")),
    tuple: frozenset(("count", "index")),
    int: frozenset(),
    float: frozenset(("is_integer",)),
}
"""By the type of what has them; lists may change only if the template has made them."""
