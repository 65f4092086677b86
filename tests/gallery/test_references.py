"""What each form of a reference means, and that no text leads anywhere else."""

from __future__ import annotations

import pytest

from localai_flask.config.references.reference import find_fault
from localai_flask.gallery.errors import NoReference
from localai_flask.gallery.references import parse_reference

SHA256 = "ab" * 32
HUB = [
    ("huggingface://owner/repo/model.gguf", "model.gguf", "", ""),
    ("hf://owner/repo/sub/model.gguf", "sub/model.gguf", "", ""),
    ("hf.co/owner/repo/model.gguf@v1", "model.gguf", "v1", ""),
    ("huggingface.co/owner/repo", "", "", ""),
    ("huggingface://owner/repo@v1/model.gguf", "model.gguf", "v1", ""),
    ("huggingface://owner/repo/model.gguf@main", "model.gguf", "", ""),
    ("huggingface://owner/repo/model.gguf@refs/pr/1", "model.gguf", "refs/pr/1", ""),
    ("hf.co/owner/repo:Q4_K_M", "", "", "Q4_K_M"),
    ("hf.co/owner/repo:latest", "", "", ""),
    ("ollama://hf.co/owner/repo:q8_0", "", "", "Q8_0"),
    ("owner/repo", "", "", ""),
    ("owner/repo:Q4_K_M", "", "", "Q4_K_M"),
    ("owner/repo/model.gguf", "model.gguf", "", ""),
    ("https://huggingface.co/owner/repo", "", "", ""),
    ("https://huggingface.co/owner/repo/tree/v1", "", "v1", ""),
    ("https://huggingface.co/owner/repo/blob/main/model.gguf", "model.gguf", "", ""),
    ("https://hf.co/owner/repo/resolve/v1/a%20b.gguf?download=true", "a b.gguf", "v1", ""),
]
REGISTRIES = [
    ("ollama://smollm2:135m", "ollama", "registry.ollama.ai", "library/smollm2", "135m"),
    ("ollama://smollm2", "ollama", "registry.ollama.ai", "library/smollm2", "latest"),
    ("ollama://someone/Thing:v1", "ollama", "registry.ollama.ai", "someone/thing", "v1"),
    ("ollama://127.0.0.1:5000/library/thing:v1", "ollama", "127.0.0.1:5000", "library/thing", "v1"),
    ("oci://ghcr.io/owner/thing:v1", "oci", "ghcr.io", "owner/thing", "v1"),
    ("ghcr.io/owner/thing", "oci", "ghcr.io", "owner/thing", "latest"),
    ("oci://ai/smollm2:135M", "oci", "registry-1.docker.io", "ai/smollm2", "135M"),
    ("docker://docker.io/alpine", "oci", "registry-1.docker.io", "library/alpine", "latest"),
    (f"oci://localhost:5000/thing@sha256:{SHA256}", "oci", "localhost:5000", "thing", f"sha256:{SHA256}"),
]
REFUSED = [
    *("", "llama3", "llama3:8b", "../model.gguf", "a/../../b.gguf", "file:///../x.gguf", "file://../x", "/a/../b.gguf"),
    *("huggingface://owner", "hf://owner/../../etc/passwd", "hf://owner/repo/../x.gguf", "hf://owner/repo//x.gguf"),
    *("hf://owner/repo/x.gguf@../../y", "hf://owner/repo@a/x.gguf@b", "hf://ow ner/repo", "hf://owner/repo:a/b"),
    *("hf://owner/repo/.hidden", "hf://owner/repo/a\\b.gguf", "hf://owner/repo/nul.gguf", "hf://owner/repo.git"),
    *("https://", "https://example.org", "https://example.org/a/", "https://example.org/..", "https://[::1/x.gguf"),
    *("https://example.org/%2e%2e", "https://example.org/a%00b.gguf"),
    *("ftp://example.org/x.gguf", "s3://bucket/x.gguf", "javascript://x", "https://example.org/x.gguf#sha256=12"),
    *("ollama://", "ollama://a/../b", "ollama://-x", "oci://ghcr.io/", "oci://ghcr.io/a@md5:12", "oci://gh cr.io/a/b"),
    *("pypi://m/model.gguf", "github:owner/repo", "x" * 3000, "hf://owner/repo/a\u202egguf.exe", "hf://o/r/a\0b"),
]


@pytest.mark.parametrize(("text", "path", "revision", "quantization"), HUB)
def test_a_hubs_references(text: str, path: str, revision: str, quantization: str) -> None:
    found = parse_reference(text)
    assert (found.scheme, found.repo, found.text) == ("huggingface", "owner/repo", text)
    assert (found.path, found.revision, found.quantization) == (path, revision, quantization)


@pytest.mark.parametrize(("text", "scheme", "host", "repo", "revision"), REGISTRIES)
def test_registries_references(text: str, scheme: str, host: str, repo: str, revision: str) -> None:
    found = parse_reference(text)
    assert (found.scheme, found.host, found.repo, found.revision) == (scheme, host, repo, revision)


def test_other_references() -> None:
    web = parse_reference(f"https://example.org/a/model.gguf?x=1#sha256={SHA256.upper()}")
    assert (web.scheme, web.url, web.file_name) == ("https", "https://example.org/a/model.gguf?x=1", "model.gguf")
    assert web.sha256 == SHA256
    github = parse_reference("github:owner/repo/a/model.gguf@v1")
    assert github.url == "https://raw.githubusercontent.com/owner/repo/v1/a/model.gguf"
    for text in ("model.gguf", "./model.gguf", "file://model.gguf"):
        assert parse_reference(text)[:3] == ("file", "", "model.gguf")
    assert parse_reference("folder/model.gguf").path == "folder/model.gguf"
    assert parse_reference("file:///srv/models/model.gguf").path == "/srv/models/model.gguf"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ollama://smollm2:135m", "smollm2-135m"),
        ("ollama://someone/thing", "someone-thing"),
        ("hf.co/owner/repo:Q4_K_M", "repo-Q4_K_M"),
        ("owner/repo/Big-00001-of-00003.gguf", "Big"),
        ("https://example.org/Model.Q4.gguf", "Model.Q4"),
    ],
)
def test_what_a_model_from_there_may_be_called(text: str, name: str) -> None:
    assert parse_reference(text).stem == name


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(NoReference) as raised:
        parse_reference(text)
    assert raised.value.info.status == 400 and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "/etc/passwd",
            "../x",
            "a/../x",
            "a//x",
            "./x",
            "a/",
            "a\\x",
            "C:x",
            "a\0b",
            "a\nb",
            "\u202ex",
            "a\u200bb",
        ),
        *(
            "․․/x",
            "．．/x",
            "a／x",
            "a∕../x",
            "CON",
            "nul.gguf",
            "a/LPT1.bin",
            "COM¹",
            ".hidden",
            "a/.git/x",
            "~x",
            "x.",
            "x ",
        ),
        *("e\u0301.gguf", "x" * 201, "ä" * 101, "/".join(["x" * 100] * 11), "a*", "a|b", "\ud800"),
    ],
)
def test_names_that_no_file_may_get(name: str) -> None:
    assert find_fault(name)


@pytest.mark.parametrize(
    "name", ["model.gguf", "a/b/c.gguf", "a b (1).gguf", "é.gguf", "模型.gguf", "console", "x" * 200]
)
def test_names_that_a_file_may_get(name: str) -> None:
    assert not find_fault(name)
