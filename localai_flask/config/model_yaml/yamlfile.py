"""A YAML file to plain mappings that know the lines of their keys, and back to text.

Reads YAML 1.2's scalars, where `on`, `no` and `12:30` are text. Knows nothing of models.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from localai_flask.config.files.bounded import read_text
from localai_flask.config.model_yaml.findings import place
from localai_flask.config.model_yaml.keypaths import KeyPath, dotted
from localai_flask.errors import ConfigError

MOST_BYTES = 1 << 20
MOST_DEPTH, MOST_NODES = 50, 50_000
"""How deep and how long a model's YAML may be, with what its aliases repeat."""


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


MOST_APOSTROPHES = 64
"""How many needless backslashes before apostrophes a file may have; each costs another look at the file."""
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


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Puts in quotes what any reader of YAML, 1.1 or 1.2, would not read as text; long texts are readable blocks."""

    yaml_implicit_resolvers = {
        start: [
            *yaml.SafeDumper.yaml_implicit_resolvers.get(start, ()),
            *_Loader.yaml_implicit_resolvers.get(start, ()),
        ]
        for start in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def write_text(self, text: str) -> yaml.Node:
        style = "|" if "\n" in text and not any(line != line.rstrip() for line in text.split("\n")) else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.write_text)


def dump(content: Any) -> str:
    """Write YAML as people read it, that any reader reads alike."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120))


class Document(NamedTuple):
    """A mapping of a file, and the node that it was made of, which knows the lines."""

    file: Path
    content: dict[Any, Any]
    node: yaml.Node | None = None
    overlay: KeyPath = ()
    """Where those keys stand that are laid over the others."""

    def line(self, path: KeyPath) -> int:
        """Find the line of what stands at a path, or else of what stands around it; 0 if lines are not known."""
        line, is_found = self._line((*self.overlay, *path))
        return line if is_found or not self.overlay else self._line(path)[0]

    def line_written(self, path: KeyPath) -> int:
        """Find the line of what stands at this very path; 0 if nothing does."""
        for whole in dict.fromkeys(((*self.overlay, *path), path)):
            line, is_found = self._line(whole)
            if is_found:
                return line
        return 0

    def _line(self, path: KeyPath) -> tuple[int, bool]:
        """Return the line, and whether something stands at the path."""
        node = self.node
        line: int = node.start_mark.line + 1 if node else 0
        for part in path:
            key, node = _child(node, part)
            if key is None:
                return line, False
            line = key.start_mark.line + 1
        return line, True

    def error(self, path: KeyPath, sentence: str, param: str = "") -> ConfigError:
        """Make the error about a key; `param` is the key that it is about, if there is nothing at the path."""
        line = self.line(path)
        said = f"{place(self.file, line)}: {sentence}."
        return ConfigError(said, param=param or dotted(path), line=line)


def _child(node: yaml.Node | None, part: Any) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Find what marks the place of a key or an item, and its value."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None, None


def read(file: Path) -> list[Document]:
    """Read a file that holds one mapping or a list of mappings.

    Raises `ConfigError` with the file, and with line and column where the text is not YAML.
    """
    return read_documents(read_text(file, MOST_BYTES), file)


def read_documents(text: str, file: Path) -> list[Document]:
    """Read the text that a file has, or will have; raise what `read` raises."""
    if len(text.encode("utf-8", "replace")) > MOST_BYTES:
        raise ConfigError(f"{file} would be larger than {MOST_BYTES} bytes; shorten it.")
    try:
        content, node = _parse_as_go(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        said = f"{file}{where}: {_problem(error)}; correct the YAML."
        raise ConfigError(said, line=mark.line + 1 if mark else 0) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not YAML ({str(error).splitlines()[0]}); correct it.") from error
    if content is None:
        raise ConfigError(f"{file} is empty; write at least `parameters:` with a `model:` into it.")
    entries = content if isinstance(content, list) else [content]
    if not entries or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"{file} must hold keys with values, or a list of such mappings.")
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return [Document(file, entry, each) for entry, each in zip(entries, nodes, strict=True)]


def parse(text: str, most_nodes: int = MOST_NODES) -> Any:
    """Parse YAML that is no model's, such as a gallery's; raise `ValueError` with what is wrong with it."""
    try:
        return _parse_as_go(text, most_nodes)[0]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{_problem(error)}{where}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(str(error).splitlines()[0]) from error


def _parse_as_go(text: str, most_nodes: int = MOST_NODES) -> tuple[Any, yaml.Node | None]:
    """Parse YAML; in double quotes `\\'` is taken for an apostrophe, as Go's reader does."""
    for _ in range(MOST_APOSTROPHES):
        try:
            return _parse(text, most_nodes)
        except yaml.scanner.ScannerError as error:
            mark = error.problem_mark
            lines = text.splitlines(keepends=True)
            if mark is None or mark.line >= len(lines) or not lines[mark.line].startswith("\\'", mark.column):
                raise
            line = lines[mark.line]
            lines[mark.line] = line[: mark.column] + line[mark.column + 1 :]
            text = "".join(lines)
    return _parse(text, most_nodes)


def _parse(text: str, most_nodes: int) -> tuple[Any, yaml.Node | None]:
    _check_size(text, most_nodes)
    _check_end(text)
    loader = _Loader(text)
    try:
        root = loader.get_node() if loader.check_node() else None
        if root is None:
            return None, None
        if _expanded(root, {}) > most_nodes:
            raise ValueError(f"its aliases repeat more than {most_nodes} values")
        return loader.construct_document(root), root
    finally:
        loader.dispose()


def _check_size(text: str, most_nodes: int) -> None:
    """Refuse what would take long to read or recurse too deep, at a fraction of that cost."""
    depth = nodes = 0
    for event in yaml.parse(text, _Loader):
        nodes += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {MOST_DEPTH}")
        if nodes > most_nodes:
            raise ValueError(f"it has more than {most_nodes} values")


def _check_end(text: str) -> None:
    """Refuse a second document, unless it is empty, as it is behind a `---` at the end of a file."""
    documents: list[Any] = []
    for event in yaml.parse(text, _Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents.append(event.start_mark)
        elif len(documents) > 1 and isinstance(event, yaml.NodeEvent) and getattr(event, "value", None) != "":
            said = "expected a single document in the stream", "but found another document"
            raise yaml.composer.ComposerError(said[0], documents[0], said[1], documents[-1])


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """Count a node's values as often as aliases and merges repeat them."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = 1  # for a node inside itself, which is refused when it is constructed
    if isinstance(node, yaml.MappingNode):
        size = 1 + sum(_expanded(part, known) for pair in node.value for part in pair)
    elif isinstance(node, yaml.SequenceNode):
        size = 1 + sum(_expanded(part, known) for part in node.value)
    else:
        size = 1
    known[id(node)] = size
    return size


def _problem(error: yaml.MarkedYAMLError) -> str:
    return ", ".join(part for part in (error.context, error.problem) if part)
