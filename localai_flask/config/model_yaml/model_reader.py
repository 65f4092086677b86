"""One mapping of a YAML file to a `ModelConfig`, in the way of LocalAI, which takes almost everything.

What changes nothing of the answers and nothing of what is safe costs a warning with the line and the nearest name, and
not the model; the rest is refused. Knows no folder.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from msgspec import structs

from localai_flask.config import model, references
from localai_flask.config.model_yaml import key_fates
from localai_flask.config.model_yaml.findings import Finding, Refused
from localai_flask.config.model_yaml.keypaths import KeyPath, dotted, values_at, without
from localai_flask.config.model_yaml.paths import LEADS_OUT, PATH_KEYS, leads_out
from localai_flask.config.model_yaml.schema import MISSING, UNKNOWN, keys_of, read_struct, without_nulls
from localai_flask.config.model_yaml.yamlfile import Document
from localai_flask.config.patterns import compiled
from localai_flask.errors import ConfigError

BLOCKS = ((), ("parameters",), ("template",), ("function",), ("function", "grammar"), ("reasoning",), ("limits",))
"""Where an unknown key may belong."""
PATTERNS = ("cutstrings", "extract_regex")
"""Keys that list regular expressions."""
NO_EFFECT = "it has no effect"


class Loaded(NamedTuple):
    """A config, and the warnings about what it does not hold."""

    config: model.ModelConfig
    findings: tuple[Finding, ...] = ()


class _Reading:
    """What is known while one mapping is read: its document, where moved keys stood, and the warnings so far."""

    def __init__(self, document: Document, name: str):
        self.document, self.name = document, name
        self.findings: list[Finding] = []
        self.faults: list[ConfigError] = []
        self.origins: dict[KeyPath, KeyPath] = {}

    def written(self, path: KeyPath) -> KeyPath:
        """Return where the user has written what stands at a path now."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]] + path[length:]
        return path

    def refuse(self, path: KeyPath, sentence: str) -> None:
        """Note why there can be no model; reading continues, so that all faults are told at once."""
        path = self.written(path)
        self.faults.append(self.document.error(path, f"`{dotted(path)}` {sentence}"))

    def warn(self, path: KeyPath, sentence: str) -> None:
        path = self.written(path)
        key = dotted(path)
        line = self.document.line(path)
        self.findings.append(Finding(str(self.document.file), line, self.name, key, f"`{key}` {sentence}."))


def load(document: Document) -> Loaded:
    """Read one model; a missing name is the file's stem.

    Raises `Refused` with the file, the line, the key and what to change.
    """
    content = {"name": document.file.stem, **without_nulls(document.content)}
    reading = _Reading(document, str(content["name"]))
    try:
        config = _read(content, reading)
    except ConfigError as error:
        reading.faults.append(error)
    if reading.faults:
        raise Refused(reading.name, document.file, reading.faults, reading.findings)
    return Loaded(config, tuple(sorted(reading.findings)))


def _read(content: dict[Any, Any], reading: _Reading) -> model.ModelConfig:
    content = _in_place(content, reading)
    _check_paths(content, reading)
    content = _own_keys(content, reading)
    _cap(content.get("parameters"), reading)
    config = _settled(_fitting(content, reading), reading)
    _check_patterns(config, reading)
    _check_it_travels(config, reading)
    return config


def _in_place(content: dict[Any, Any], reading: _Reading) -> dict[Any, Any]:
    """Move keys that stand at the top level and belong under `parameters`, or the other way round; rename others.

    What already stands in the right place wins.
    """
    parameters = content.get("parameters", {})
    if not isinstance(parameters, dict):
        return content
    top = {key: value for key, value in content.items() if key != "parameters"}
    inner = without_nulls(parameters)
    for key in [
        key for key in inner if f"parameters.{key}" in key_fates.RENAMED or _belongs(key, (), not_in=("parameters",))
    ]:
        new = key_fates.RENAMED.get(f"parameters.{key}", key)
        _move(inner, ("parameters", key), top, (new,), reading)
    for key in [key for key in top if _belongs(key, ("parameters",), not_in=())]:
        _move(top, (key,), inner, ("parameters", key), reading)
    for key in [key for key in top if key in key_fates.RENAMED]:
        _move(top, (key,), top, (key_fates.RENAMED[key],), reading)
    return top | ({"parameters": inner} if inner else {})


def _belongs(key: Any, block: tuple[str, ...], not_in: tuple[str, ...]) -> bool:
    return key != "parameters" and key in _known_keys(block) and key not in _known_keys(not_in)


def _move(source: dict[Any, Any], old: KeyPath, target: dict[Any, Any], new: KeyPath, reading: _Reading) -> None:
    value = source.pop(old[-1])
    if new[-1] not in target:
        target[new[-1]] = value
        reading.origins[new] = old
    elif target[new[-1]] != value:
        reading.warn(old, f"says something else than `{dotted(reading.written(new))}`, which counts")


def _check_paths(content: dict[Any, Any], reading: _Reading) -> None:
    for pattern in PATH_KEYS:
        for path, value in values_at(content, pattern):
            is_address = pattern == "parameters.model" and references.is_address(str(value))  # has checks of its own
            if isinstance(value, str) and leads_out(value) and not is_address:
                reading.refuse(path, LEADS_OUT.format(name=value))


def _own_keys(content: Mapping[Any, Any], reading: _Reading) -> dict[Any, Any]:
    """Take out the keys that are known and not read."""
    ours, found = key_fates.sift(content)
    for path, fate in found.items():
        if fate.effect == "refused":
            reading.refuse(path, fate.sentence)
        if fate.effect == "warned":
            reading.warn(path, fate.sentence)
    return ours


def _cap(parameters: Any, reading: _Reading) -> None:
    """Put numbers beyond a limit, where engines read them all alike, at that limit."""
    if not isinstance(parameters, dict):
        return
    for name, most in key_fates.MOST.items():
        path = tuple(name.split("."))
        value = parameters.get(path[-1])
        if isinstance(value, int | float) and value is not True and most < value < float("inf"):
            reading.warn(path, f"is {value}, which is read as {most:g}")
            parameters[path[-1]] = most
    for name, least in key_fates.LEAST.items():
        key = name.rpartition(".")[-1]
        value = parameters.get(key)
        if isinstance(value, int) and value < least:
            parameters[key] = least


def _fitting(content: dict[Any, Any], reading: _Reading) -> model.ModelConfig:
    """Read what fits, as if what is refused were not there; raise for what stays unfit without it."""
    passed_over: set[KeyPath] = set()
    config, complaints = read_struct(content)
    while config is None:
        for path, problem in complaints:
            if path in passed_over:
                raise reading.document.error(reading.written(path), f"`{dotted(reading.written(path))}` {problem}")
            passed_over.add(path)
            if problem == UNKNOWN:
                reading.warn(path, f"is unknown{_nearest(path)}")
            elif _is_spared(path, content):
                reading.warn(path, f"{problem}; {NO_EFFECT}")
            else:
                reading.refuse(path, problem)
        for path, problem in reversed(complaints):  # from behind, so that the indexes of lists hold
            content = without(content, path[:-1] if problem == MISSING else path)
        config, complaints = read_struct(content)
    return config


def _is_spared(path: KeyPath, content: Mapping[Any, Any]) -> bool:
    """Return whether a value that cannot be used changes no answer."""
    return path[0] in key_fates.SPARED or (path[:2] == ("function", "grammar") and _has_no_grammar(content))


def _has_no_grammar(content: Mapping[Any, Any]) -> bool:
    switches = ("function.grammar.disable", "template.use_tokenizer_template")
    return any(value is True for switch in switches for _, value in values_at(content, switch))


def _settled(config: model.ModelConfig, reading: _Reading) -> model.ModelConfig:
    """Take out of `function` what other keys switch off."""
    if problem := config.function.problem:
        reading.refuse(("function", problem[0]), problem[1])
    function, moot = config.function.settled(config.template.use_tokenizer_template)
    for key, why in moot.items():
        reading.warn(("function", "grammar", *([key] if key else [])), why)
    return structs.replace(config, function=function)


def _check_patterns(config: model.ModelConfig, reading: _Reading) -> None:
    expressions: dict[KeyPath, tuple[str, ...]] = {(key,): getattr(config, key) for key in PATTERNS}
    expressions |= {("function", key): sources for key, sources in config.function.patterns.items()}
    for path, sources in expressions.items():
        for index, source in enumerate(sources):
            try:
                compiled(source)
            except ValueError as error:
                reading.refuse((*path, index), f"is {source!r}, which {error}; correct it")


def _check_it_travels(config: model.ModelConfig, reading: _Reading) -> None:
    """Refuse free-form values, as in `chat_template_kwargs`, that cannot be sent to a model worker."""
    file = reading.document.file
    try:
        model.encode(config)
    except OverflowError as error:
        raise ConfigError(f"{file}: a number does not fit into 64 bits; correct it.") from error
    except TypeError as error:
        raise ConfigError(f"{file}: a key is not text; put numbers that are keys in quotes.") from error


def _nearest(path: KeyPath) -> str:
    """Suggest what an unknown key was probably meant to be."""
    block = tuple(part for part in path[:-1] if isinstance(part, str))
    key = str(path[-1])
    for home in BLOCKS:
        if home != block and key in _known_keys(home):
            where = f"under `{dotted(home)}:`" if home else f"to the top level, outside of `{dotted(block)}:`"
            return f" here; it belongs {where}"
    near = difflib.get_close_matches(key, sorted(_known_keys(block)), n=1, cutoff=0.75)
    return f"; perhaps `{near[0]}` is meant" if near else ""


@functools.cache
def _known_keys(block: tuple[str, ...]) -> frozenset[str]:
    """List the keys of a block that have a meaning: ours, and those with a fate of their own."""
    prefix = "".join(f"{part}." for part in block)
    fates = (*key_fates.KEY_FATES, *key_fates.RENAMED)
    elsewhere = {key.removeprefix(prefix).split(".")[0] for key in fates if key.startswith(prefix)}
    return keys_of(block) | {key for key in elsewhere if not key.endswith("[]")}
