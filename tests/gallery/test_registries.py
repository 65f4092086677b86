"""Models in registries: what the layers mean, tokens, and that what arrives has its digest."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from localai_flask.gallery.download import fetch_files
from localai_flask.gallery.errors import DownloadFailed, NotOffered, PrivateAddress
from localai_flask.gallery.sources import Access, Offer
from tests.support.fake_registry import INDEX, OLLAMA, OciRegistry
from tests.support.fetching import offer_of

MODEL = random.Random(1).randbytes(1_000_000)
OTHER = random.Random(2).randbytes(50_000)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OciRegistry]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    with OciRegistry() as registry:
        yield registry


def fetch(offer: Offer, folder: Path) -> list[Path]:
    return fetch_files(offer.files, folder, report=lambda _: None, stopped=lambda: False)


def test_a_model_of_ollamas(registry: OciRegistry, tmp_path: Path) -> None:
    params = {"stop": ["<|im_end|>"], "temperature": 0.6, "num_ctx": 4096, "num_predict": -1, "top_k": "no", "other": 1}
    registry.add_ollama(
        "library/small",
        "135m",
        MODEL,
        template=b"{{ .Prompt }}",
        params=json.dumps(params).encode(),
        system=b"Be kind.",
        license=b"MIT",
    )
    offer = offer_of(f"ollama://{registry.address}/library/small:135m")
    assert (offer.name, offer.model, offer.mmproj) == ("small-135m", "small-135m.gguf", None)
    assert offer.note == "Q4_K_M: what the tag stands for" and offer.files[0].size == len(MODEL)
    assert offer.overrides == {
        "parameters": {"temperature": 0.6},
        "stopwords": ["<|im_end|>"],
        "context_size": 4096,
        "system_prompt": "Be kind.",
    }
    assert fetch(offer, tmp_path / "models")[0].read_bytes() == MODEL


def test_a_projector_and_an_adapter_come_along(registry: OciRegistry) -> None:
    registry.add_ollama("me/see", "latest", MODEL, projector=OTHER, adapter=OTHER + b"x")
    offer = offer_of(f"ollama://{registry.address}/me/see")
    assert [file.path for file in offer.files] == ["me-see.gguf", "me-see-mmproj.gguf", "me-see-adapter.gguf"]
    assert offer.mmproj == "me-see-mmproj.gguf" and offer.overrides == {"lora_adapter": "me-see-adapter.gguf"}


def test_a_model_of_dockers_in_parts(registry: OciRegistry) -> None:
    kind = "application/vnd.docker.ai.gguf.v3"
    registry.add(
        "ai/big", "7B", [(kind, MODEL, {}), (kind, OTHER, {}), ("application/vnd.docker.ai.license", b"MIT", {})]
    )
    offer = offer_of(f"oci://{registry.address}/ai/big:7B")
    assert [file.path for file in offer.files] == ["big-7B-00001-of-00002.gguf", "big-7B-00002-of-00002.gguf"]


def test_files_with_titles(registry: OciRegistry) -> None:
    title = "org.opencontainers.image.title"
    layers = [("application/octet-stream", MODEL, {title: "sub/It.Q4_0.gguf"})]
    layers.append(("application/octet-stream", OTHER, {title: "README.md"}))
    digest = registry.add("me/files", "v1", layers)
    for tag in (":v1", f"@{digest}"):
        offer = offer_of(f"oci://{registry.address}/me/files{tag}")
        assert [(file.path, file.sha256) for file in offer.files] == [
            ("It.Q4_0.gguf", hashlib.sha256(MODEL).hexdigest())
        ]


@pytest.mark.parametrize("title", ["../../x.gguf/..", ".x.gguf", "nul.gguf", "a\u202eb.gguf", "x\0.gguf"])
def test_a_hostile_title_is_not_used(registry: OciRegistry, title: str) -> None:
    registry.add("me/files", "v1", [(OLLAMA + "model", MODEL, {"org.opencontainers.image.title": title})])
    assert offer_of(f"oci://{registry.address}/me/files:v1").model == "files-v1.gguf"


def test_an_index_leads_to_the_manifest_for_this_machine(registry: OciRegistry) -> None:
    first = registry.add("me/many", "a", [(OLLAMA + "model", OTHER, {})])
    second = registry.add("me/many", "b", [(OLLAMA + "model", MODEL, {})])
    listed = [
        {"digest": first, "platform": {"architecture": "s390x"}},
        {"digest": second, "platform": {"architecture": "amd64"}},
    ]
    registry.add_manifest("me/many", "latest", INDEX, {"manifests": listed})
    assert offer_of(f"oci://{registry.address}/me/many").files[0].size == len(MODEL)


def test_a_token_is_fetched_again_when_it_expires_and_shown_to_no_other_host(
    registry: OciRegistry, tmp_path: Path
) -> None:
    registry.needs_token, registry.token_lives = True, 2
    registry.add_ollama("library/small", "latest", MODEL)
    registry.cdn.behaviour.cut_after = [100_000] * 4
    fetch(offer_of(f"ollama://{registry.address}/library/small"), tmp_path)
    assert (tmp_path / "small.gguf").read_bytes() == MODEL
    assert len(registry.token_questions) > 3
    assert registry.token_questions[0] == {"service": ["it"], "scope": ["repository:x:pull"]}
    assert set(registry.cdn.authorizations) == {None} and len(registry.cdn.asked) == 5


def test_a_login_of_dockers_is_shown_to_the_token_server(registry: OciRegistry, tmp_path: Path) -> None:
    registry.needs_token = True
    registry.add_ollama("me/private", "latest", MODEL)
    (tmp_path / "docker").mkdir()
    login = base64.b64encode(b"me:secret").decode()
    (tmp_path / "docker/config.json").write_text(json.dumps({"auths": {registry.address: {"auth": login}}}))
    offer_of(f"ollama://{registry.address}/me/private")
    assert f"Basic {login}" in registry.authorizations


def test_a_token_server_elsewhere_without_tls_is_not_asked(registry: OciRegistry) -> None:
    registry.needs_token, registry.realm = True, f"{registry.cdn.root}/token"
    registry.add_ollama("me/it", "latest", MODEL)
    with pytest.raises(NotOffered, match="not public"):
        offer_of(f"ollama://{registry.address}/me/it")
    assert not registry.cdn.authorizations


def test_a_layer_that_is_none_is_thrown_away(registry: OciRegistry, tmp_path: Path) -> None:
    registry.add_ollama("me/it", "latest", MODEL)
    offer = offer_of(f"ollama://{registry.address}/me/it")
    registry.cdn.behaviour.replaced_by = MODEL[:-1] + b"\0"
    with pytest.raises(Exception, match="checksum"):
        fetch(offer, tmp_path)
    assert not list(tmp_path.glob("*.gguf*"))


def test_a_described_layer_that_is_another_is_refused(registry: OciRegistry) -> None:
    registry.add_ollama("me/it", "latest", MODEL, system=b"Be kind.")
    registry.behaviour.replaced_by = b"Be evil."
    with pytest.raises(NotOffered, match="has not the digest"):
        offer_of(f"ollama://{registry.address}/me/it")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}]}, "without a sha256 digest"),
        ({"layers": []}, "no layer with a GGUF file"),
        ({"layers": "none"}, "no layer with a GGUF file"),
        ({"manifests": [{"digest": "../../x"}]}, "no layer with a GGUF file"),
    ],
)
def test_an_image_that_is_no_model_is_refused(registry: OciRegistry, manifest: dict[str, object], said: str) -> None:
    registry.add_manifest("me/it", "latest", INDEX, manifest)
    with pytest.raises(NotOffered, match=said):
        offer_of(f"oci://{registry.address}/me/it")


def test_what_is_not_there_or_busy_is_named(registry: OciRegistry) -> None:
    with pytest.raises(NotOffered, match=r"There is no 127\.0\.0\.1:\d+/library/x with the tag y"):
        offer_of(f"ollama://{registry.address}/library/x:y")
    registry.behaviour.page_statuses = [503] * 9
    with pytest.raises(DownloadFailed, match="answers 503"):
        offer_of(f"ollama://{registry.address}/library/x:y")


def test_strangers_reach_no_registry_on_this_machine(registry: OciRegistry) -> None:
    registry.add_ollama("me/it", "latest", MODEL)
    with pytest.raises(PrivateAddress, match=r"127\.0\.0\.1 is on this machine"):
        offer_of(f"ollama://{registry.address}/me/it", Access(Path()))
    assert not registry.authorizations
