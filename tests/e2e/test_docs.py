"""Every command and example of the documentation, run as it stands there.

What a test cannot run says why in a comment above it; its words are held to what exists. README's requests with their
answers are in test_readme.py.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from localai_flask.cli import main
from localai_flask.engine_build.targets import TARGETS
from tests.support.pages import PAGES, ROOT, Block, read_blocks, read_commands
from tests.support.reader import TOY, Reader
from tests.support.required import need_program
from tests.support.server import Server

PAGE_OF_OLLAMA = (ROOT / "docs/from-ollama.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
EXTRAS = re.findall(
    r"^([\w-]+) =$", (ROOT / "setup.cfg").read_text().partition("[options.extras_require]")[2], re.MULTILINE
)
ELSEWHERE = "README.md"


def is_shown_with_its_answer(block: Block) -> bool:
    """Return whether test_readme.py runs it."""
    return block.page == ELSEWHERE and (block.language == "python" or block.text.startswith("curl"))


SHELL = [block for block in read_blocks("sh") if not is_shown_with_its_answer(block)]
RUN = [block for block in SHELL if not block.excuse]
EXCUSED = [block for block in SHELL if block.excuse]
PYTHON = [each for each in read_blocks("python") if not (is_shown_with_its_answer(each) or each.excuse)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    root = tmp_path_factory.mktemp("reader")
    reader = Reader(root)
    for name in ("registry.ollama.ai/library/llama3.2/3b", "registry.ollama.ai/library/gemma3/latest"):
        reader.add_ollama(name)
    reader.add_ollama("hf.co/somebody/some-model/Q4_K_M")
    reader.add_ollama("registry.ollama.ai/library/remote/cloud", has_weights=False)
    reader.begin_anew()
    scratch = tmp_path_factory.mktemp("docs-server")
    with Server(reader.models, scratch, HOME=str(reader.home), LOCALAI_DEFAULT_MODEL="demo") as server:
        reader.places["http://127.0.0.1:8080"] = server.url
        reader.environment["LOCALAI_URL"] = server.url
        yield reader


@pytest.fixture
def fresh_reader(reader: Reader) -> Reader:
    reader.begin_anew()
    return reader


@pytest.mark.parametrize("block", RUN, ids=str)
def test_commands_work(fresh_reader: Reader, block: Block) -> None:
    done = fresh_reader.run(block.text)
    assert done.returncode == 0, done.stderr + done.stdout
    if block.output:
        assert done.stdout == fresh_reader.translate(block.output)


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_works(fresh_reader: Reader, block: Block) -> None:
    (fresh_reader.checkout / "example.py").write_text(fresh_reader.translate(block.text))
    done = fresh_reader.run("python3 example.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", EXCUSED, ids=str)
def test_commands_that_are_not_run_can_be_read(block: Block) -> None:
    done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [block for block in read_blocks("yaml") if not block.excuse], ids=str)
def test_yaml_is_taken_without_a_warning(block: Block, tmp_path: Path) -> None:
    text = block.text if re.search("^name:", block.text, re.MULTILINE) else f"name: model\n{block.text}"
    if not re.search("^parameters:", text, re.MULTILINE):
        text += "parameters: {model: model.gguf}\n"
    check_yaml(tmp_path, text)


def check_yaml(folder: Path, text: str) -> None:
    """Have the models folder checked with this YAML in it, and the files that it names."""
    (folder / "model.yaml").write_text(text)
    for name in re.findall(r"[\w.:-]+\.gguf", text):
        shutil.copy(TOY, folder / name)
    done = CliRunner().invoke(main, ["models", "check", "--strict", str(folder / "model.yaml")])
    assert (done.exit_code, done.output) == (0, "Nothing is wrong.\n")


@pytest.mark.parametrize("block", [each for each in read_blocks("json") if "…" not in each.text], ids=str)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", read_blocks("toml"), ids=str)
def test_toml_is_toml(block: Block) -> None:
    tomllib.loads(block.text)


@pytest.mark.parametrize("block", read_blocks("nginx"), ids=str)
def test_nginx_takes_its_configuration(block: Block, tmp_path: Path) -> None:
    page = tmp_path / "dist"
    page.mkdir()
    text = block.text.replace("/srv/llama.cpp/tools/ui/dist", str(page))
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid; events {{}} http {{ {text} }}")
    command = [need_program("nginx"), "-t", "-e", tmp_path / "log", "-p", tmp_path, "-c", tmp_path / "nginx.conf"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_block_is_in_a_language_that_nobody_runs() -> None:
    known = {"sh", "python", "yaml", "json", "toml", "text", "nginx", ""}
    everything = read_blocks(*known)
    assert len(everything) == sum(page.read_text().count("\n```") for page in PAGES) / 2


def test_models_of_ollama_answer_by_their_names(fresh_reader: Reader) -> None:
    [bring] = [block for block in RUN if block.page == "from-ollama.md"]
    [described] = [block for block in read_blocks("yaml") if block.page == "from-ollama.md"]
    assert fresh_reader.run(bring.text).returncode == 0
    assert fresh_reader.run(bring.text).stdout == ""  # a second time changes nothing
    (fresh_reader.models / "llama3.2-3b.yaml").write_text(described.text)
    ask = """sleep 1; for model in llama3.2:3b gemma3 gemma3:latest hf.co/somebody/some-model:Q4_K_M; do
      curl --silent --show-error --fail http://127.0.0.1:8080/v1/completions -H 'Content-Type: application/json' \\
        -d '{"model": "'$model'", "prompt": "Hello", "max_tokens": 1}'
    done"""
    done = fresh_reader.run(ask)
    assert done.returncode == 0, done.stderr


def test_parameters_of_a_modelfile_are_taken(tmp_path: Path) -> None:
    [row] = re.findall(r"^\| (`PARAMETER .*) \| the same name under `parameters:`", PAGE_OF_OLLAMA, re.MULTILINE)
    names = re.findall(r"`(?:PARAMETER )?(\w+)`", row)
    assert "temperature" in names and "repeat_last_n" in names
    settings = "".join(f"  {name}: 1\n" for name in names)
    check_yaml(tmp_path, f"name: model\nparameters:\n  model: model.gguf\n{settings}")


def test_a_folder_of_localai_is_served(fresh_reader: Reader) -> None:
    [block] = [block for block in RUN if block.page == "from-localai.md"]
    assert fresh_reader.run(block.text).stdout == "Nothing is wrong.\nluna\n"


@pytest.mark.parametrize(("place", "command"), read_commands())
def test_words_of_commands_exist(place: str, command: str) -> None:
    for part in re.split(r"&&|[|;]", command.partition(" #")[0]):
        match re.sub(r"^\s*(sudo |\w+=\S* )*", "", part).split():
            case [program, *words] if program.endswith("localai-flask"):
                _check_command(words)
            case ["make", *words]:
                _check_make(words)
            case ["apt", "install", *names]:
                _check_packages(names)
    for words in re.findall(r"localai_flask\.engine_build (?:install|flags)((?: \w+)*)", command):
        assert set(words.split()) <= set(TARGETS)
    for names in re.findall(r"'(?:localai-flask|\.)\[([\w,-]+)\]'", command):
        assert set(names.split(",")) <= set(EXTRAS)
    for path in re.findall(r"(?:^| )(deploy/[\w/.-]+)", command):
        assert (ROOT / path).exists()


def _check_command(words: list[str]) -> None:
    command: click.Command = main
    for word in words:
        if word.startswith("-"):
            known = {each for one in command.params for each in (*one.opts, *one.secondary_opts)}
            assert word in known | {"--help"}
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None, word
            command = found


def _check_make(words: list[str]) -> None:
    for word in words:
        variable, is_set, value = word.partition("=")
        assert re.search(rf"^{variable}( \?=|:)|\b{variable}\b.* are honoured", MAKEFILE, re.MULTILINE), word
        if is_set and variable == "GPU":
            assert set(value.split(",")) <= set(TARGETS)


def test_debian_has_what_the_table_names() -> None:
    [names] = re.findall("Debian, Ubuntu: `([^`]+)`", (ROOT / "docs/install.md").read_text())
    _check_packages(names.split())


def _check_packages(names: list[str]) -> None:
    """Look names up where this machine is a Debian that knows its packages."""
    if _is_package("git"):
        assert [name for name in names if not _is_package(name)] == []


def _is_package(name: str) -> bool:
    command = ["apt-cache", "show", "--no-all-versions", name]
    return bool(shutil.which("apt-cache")) and subprocess.run(command, capture_output=True).returncode == 0
