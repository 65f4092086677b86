"""Files of any size, depth and kind in the models folder: read, or refused in one sentence, at little cost."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from localai_flask.config.files.bounded import read_json
from localai_flask.config.model_yaml import yamlfile
from localai_flask.errors import ConfigError

DOUBLING = "a: &a0 {x: 1}\n" + "".join(f"b{n}: &a{n + 1} {{x: [*a{n}, *a{n}]}}\n" for n in range(40))
STRANGE = {
    "closed": ("[" * 200_000 + "]" * 200_000, "nesting"),
    "flow": ("{a: " * 900, "nested deeper"),
    "block": ("- " * 5000 + "a", "nested deeper"),
    "long": ("a: [" + "1," * 100_000 + "]", "values"),
    "large": ("#" * (2 << 20), "larger than"),
    "doubling": (DOUBLING, "repeat"),
    "merging": (DOUBLING.replace("x: [", "<<: ["), "repeat"),
    "itself": ("a: &a [*a]", "recursive"),
    "digits": ("a: " + "9" * 5000, "not YAML"),
    "no text": ("a: \0", "not YAML"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_strange_yaml_is_refused_at_little_cost(tmp_path: Path, kind: str) -> None:
    content, said = STRANGE[kind]
    (tmp_path / "a.yaml").write_text(content)
    tracemalloc.start()
    with pytest.raises(ConfigError, match=said):
        yamlfile.read(tmp_path / "a.yaml")
    assert tracemalloc.get_traced_memory()[1] < 40 << 20
    tracemalloc.stop()


def test_aliases_that_repeat_little_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- &a {name: a, options: [x]}\n- {<<: *a, name: b}\n")
    found = [each.content for each in yamlfile.read(tmp_path / "a.yaml")]
    assert found == [{"name": "a", "options": ["x"]}, {"name": "b", "options": ["x"]}]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 200_000, "not JSON"),
        ("{" * 10 + '"a":' * 10, "not JSON"),
        ('{"a":' * 100_000, "not JSON"),
        ('{"a": [' + "[]," * 100_000 + "[]]}", "more than 200000 values"),
        ("9" * 5000, "not JSON"),
        ("[1]", "no JSON object"),
        ("", "not JSON"),
        ('{"a": "' + "x" * (5 << 20) + '"}', "larger than"),
        ('{"a": "\ud800"}', "not UTF-8"),
    ],
)
def test_strange_json_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode(errors="surrogatepass"))
    with pytest.raises(ConfigError, match=said):
        read_json(tmp_path / "config.json")


def test_a_pipe_or_a_folder_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    for path in (tmp_path / "config.json", tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=str(path)):
            read_json(path)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.text(alphabet="abc:-{}[]&*<\"'|>!%#,? \n1.~", max_size=80) | st.binary(max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for read in (yamlfile.read, read_json):
        try:
            read(file)
        except ConfigError as error:
            assert str(file) in str(error)
