"""What a gallery's index and documents say, and what of them is passed over."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from localai_flask.gallery.index.entries import EntryFile, GalleryEntry, read_base, read_index
from localai_flask.settings.galleries import DEFAULT, parse_galleries, parse_preloads

LOCALAI = Path(__file__).parents[1] / "data" / "localai_gallery"


def test_entries_of_localai() -> None:
    index = read_index((LOCALAI / "index.yaml").read_text(), "localai")
    assert [entry.name for entry in index.entries] == [
        "hy-mt2-1.8b-q4",
        "hy-mt2-1.8b-q8",
        "smollm2-1.7b-instruct",
        "whisper-base",
    ]
    first, second, *_ = index.entries
    assert first.id == "localai@hy-mt2-1.8b-q4" and first.variants[0].model == second.name
    assert second.url == first.url and second.tags == first.tags, "a merged entry has what it does not say itself"
    assert second.variants == () and second.overrides["parameters"]["model"].endswith("Q8_0.gguf")
    assert first.files[0].sha256.startswith("dc5f44fc")


def test_documents_of_localai() -> None:
    base = read_base((LOCALAI / "chatml.yaml").read_text())
    assert base.config_file["context_size"] == 4096 and "<|im_end|>" in base.config_file["stopwords"]
    model = read_base("name: mine\nparameters: {model: a.gguf}\n")
    assert model.name == "mine" and model.config_file["parameters"] == {"model": "a.gguf"}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("[]", "no keys with values"),
        ("{overrides: {f16: true}}", "is empty"),
        ("{name: ../up, overrides: {f16: true}}", "hidden or unfinished"),
        ("{name: jobs, overrides: {f16: true}}", "is a path of this server"),
        ("{name: a}", "neither `url`"),
        ("{name: a, files: [{uri: 'https://x/y', filename: ../b}]}", "straight down"),
        ("{name: a, files: [{uri: 'https://x/y', filename: /etc/passwd}]}", "no relative path"),
        ("{name: a, files: [{uri: 'https://x/y', filename: b.yaml}]}", "a model's configuration"),
        ("{name: a, files: [{uri: 'https://x/y', filename: b, sha256: abc}]}", "64 hexadecimal digits"),
        ("{name: a, files: [{filename: b}]}", "needs a `uri`, or `parts`"),
        ("{name: a, url: x, prompt_templates: [{name: ../b, content: c}]}", "straight down"),
        ("{name: a, url: [x]}", r"Expected `str`.*\$\.url"),
        ("{name: a, config_file: 'b: [', url: x}", "`config_file`: while.* at line"),
    ],
)
def test_a_faulty_entry_is_passed_over_with_its_reason(entry: str, reason: str) -> None:
    index = read_index(f"- {entry}\n- {{name: good, url: 'https://x/y.yaml', tags: [7, x], icon: null}}\n", "g")
    assert [each.name for each in index.entries] == ["good"] and index.entries[0].tags == ("7", "x")
    [skipped] = index.skipped
    assert re.search(reason, skipped.reason), skipped.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<html>captive portal</html>", "no list of models"),
        ("[]", "no list of models"),
        ("- {name: a}", "none of its entries can be used: it has neither"),
        ("- a: [", "at line"),
        ("- &a [x]\n" + "- &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n", "none of its entries"),
    ],
)
def test_what_is_no_index(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_index(text, "g")


def test_aliases_may_not_repeat_without_bound() -> None:
    levels = "".join(f"- &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 9))
    with pytest.raises(ValueError, match="aliases repeat"):
        read_index(f"- &x0 [a, b]\n{levels}", "g")


def test_galleries_of_the_setting() -> None:
    assert parse_galleries("") == DEFAULT
    [gallery] = parse_galleries('[{"name": "a", "url": "https://x/i.yaml", "mirrors": ["github:a/b/c.yaml@main"]}]')
    assert gallery.addresses == ("https://x/i.yaml", "github:a/b/c.yaml@main")
    for text, reason in (
        ("{", "no JSON"),
        ('{"name": "a"}', "Expected `array`"),
        ('[{"name": "a"}]', "`url`"),
        ('[{"name": "a@b", "url": "x"}]', "must be of letters"),
        ('[{"name": "a", "url": "x"}, {"name": "a", "url": "y"}]', "twice"),
    ):
        with pytest.raises(ValueError, match=reason):
            parse_galleries(text)
    with pytest.raises(ValueError, match="no JSON list"):
        parse_preloads("true")


def test_an_entry_without_a_file_name_keeps_that_of_its_source() -> None:
    [entry] = read_index("- {name: a, files: [{uri: 'huggingface://o/r/f.gguf'}]}", "g").entries
    assert entry == GalleryEntry(name="a", gallery="g", files=(EntryFile("huggingface://o/r/f.gguf"),))


def test_words_and_installed_names() -> None:
    entry = GalleryEntry(name="owner/Small", gallery="mine", description="Writes code", tags=("LLM",))
    assert (
        entry.has_words(()) and entry.has_words(("small", "CODE", "llm")) and not entry.has_words(("small", "vision"))
    )
    assert entry.is_installed({"owner__Small"}) and entry.is_installed({"mine@owner/Small"})
    assert not entry.is_installed({"owner", "theirs@owner/Small"})
