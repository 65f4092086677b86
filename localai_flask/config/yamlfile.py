"""A YAML file to plain mappings, with the place of what is wrong in it.

Reads YAML 1.2's scalars, where `on`, `no` and `12:30` are text. Knows nothing of models.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from localai_flask.errors import ConfigError


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """A loader of YAML 1.2's core types alone, which refuses a key given twice and a node that contains itself."""

    yaml_implicit_resolvers: dict[str, Any] = {}
    yaml_constructors: dict[str, Any] = {}

    def null(self, node: yaml.ScalarNode) -> None:
        return None

    def boolean(self, node: yaml.ScalarNode) -> bool:
        return ("false", "true").index(self.construct_scalar(node).lower()) == 1

    def integer(self, node: yaml.ScalarNode) -> int:
        digits = self.construct_scalar(node)
        return int(digits, 0 if digits.lstrip("+-")[:2].lower() in ("0x", "0o") else 10)

    def real(self, node: yaml.ScalarNode) -> float:
        return float(self.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))

    def text(self, node: yaml.ScalarNode) -> str:
        return str(self.construct_scalar(node))

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        return list(self.construct_sequence(node))

    def mapping(self, node: yaml.MappingNode) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                said = f"the key {key.value!r} stands here twice"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else None)
        return dict(self.construct_mapping(node))

    def other(self, node: yaml.Node) -> None:
        said = f"the tag {node.tag} is not one of YAML's core types"
        raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)


_DIGITS = list("-+0123456789.")
_REAL = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
for _tag, _pattern, _starts in (  # the first that matches wins; `_starts` are the characters that it can begin with
    ("merge", "<<", ["<"]),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", _DIGITS),
    ("float", _REAL, _DIGITS),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _starts)
_CONSTRUCTORS: dict[str, Any] = {
    "null": _Loader.null,
    "bool": _Loader.boolean,
    "int": _Loader.integer,
    "float": _Loader.real,
}
_CONSTRUCTORS |= {"str": _Loader.text, "seq": _Loader.sequence, "map": _Loader.mapping}
for _tag, _constructor in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _constructor)
_Loader.add_constructor(None, _Loader.other)


def read(file: Path) -> list[dict[Any, Any]]:
    """Read a file that holds one mapping or a list of mappings.

    Raises `ConfigError` with the file, and with line and column where the text is not YAML.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); check its permissions.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        raise ConfigError(f"{file}{_place(error)}: {_problem(error)}; correct the YAML.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not YAML ({str(error).splitlines()[0]}); correct it.") from error
    if content is None:
        raise ConfigError(f"{file} is empty; write at least `parameters:` with a `model:` into it.")
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{file} must hold keys with values, or a list of such mappings.")
    return entries


def _problem(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
