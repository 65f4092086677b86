"""A hub as its own client sees it: which files a reference means there, and that they arrive whole or not at all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from localai_flask.gallery.download import fetch_files
from localai_flask.gallery.errors import DownloadFailed, NotOffered, Offline
from localai_flask.gallery.sources import Access, Offer
from tests.support.fake_hub import COMMIT, LARGE, Hub, git_sha1
from tests.support.fetching import OPERATOR, offer_of

MODEL = random.Random(1).randbytes(2_000_000)
PARTS = {f"BF16/big-BF16-0000{n}-of-00003.gguf": random.Random(n).randbytes(LARGE) for n in (1, 2, 3)}


@pytest.fixture(autouse=True)
def repositories(hub: Hub) -> None:
    hub.add("o/one", {"model.gguf": MODEL, "README.md": b"read me"})
    sizes = {"Q8_0": 80_000, "Q4_K_M": 45_000, "Q4_0": 44_000, "Q2_K": 30_000}
    hub.add("o/big-GGUF", {f"big-{label}.gguf": bytes(size) for label, size in sizes.items()} | PARTS)
    hub.add("o/big-GGUF", {"big-UD-Q4_K_XL.gguf": bytes(50_000), "imatrix.gguf": b"x"})
    hub.add("o/seeing", {"see-Q4_K_M.gguf": b"GGUF", "mmproj-F32.gguf": b"32", "mmproj-F16.gguf": b"16"})
    folder = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": bytes(20_000), "LICENSE": b"MIT"}
    hub.add("o/folder", folder | {"pytorch_model.bin": b"x", "modeling_x.py": b"x", "onnx/model.onnx": b"x"})
    hub.add("o/folder", {"1_Pooling/config.json": b"{}", "model.fp16.safetensors": b"x", "README.md": b"x"})
    hub.add("o/pickled", {"config.json": b"{}", "pytorch_model.bin": bytes(20_000), "training_args.bin": b"x"})


def paths(offer: Offer) -> list[str]:
    return [file.path for file in offer.files]


def fetch(offer: Offer, folder: Path) -> list[Path]:
    return fetch_files(offer.files, folder, report=lambda _: None, stopped=lambda: False)


def test_a_file_comes_from_the_other_host_with_its_sum(hub: Hub, tmp_path: Path) -> None:
    offer = offer_of("huggingface://o/one/model.gguf")
    assert (offer.name, offer.model, offer.mmproj, offer.files[0].size) == ("model", "model.gguf", None, len(MODEL))
    assert f"/resolve/{COMMIT}/" in offer.files[0].url
    (path,) = fetch(offer, tmp_path)
    assert path == tmp_path / "model.gguf" and path.read_bytes() == MODEL
    assert [path.name for path in tmp_path.iterdir()] == ["model.gguf"]


def test_a_small_file_has_the_sum_that_git_gives_it(hub: Hub, tmp_path: Path) -> None:
    offer = offer_of("hf://o/one/README.md")
    assert (offer.files[0].git_sha1, offer.files[0].sha256) == (git_sha1(b"read me"), None)
    assert fetch(offer, tmp_path)[0].read_bytes() == b"read me"
    hub.behaviour.replaced_by = b"read us"
    with pytest.raises(Exception, match="checksum"):
        fetch(offer, tmp_path / "again")
    assert not list((tmp_path / "again").iterdir())


@pytest.mark.parametrize("has_token", [False, True])
def test_a_token_is_shown_to_the_hub_alone(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_token: bool
) -> None:
    hub.token = "hf_secret"
    if not has_token:
        with pytest.raises(NotOffered, match="needs a token in HF_TOKEN"):
            offer_of("o/one/model.gguf")
        return
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    offer = offer_of("o/one/model.gguf")
    assert "secret" not in repr(offer)
    fetch(offer, tmp_path)
    assert set(hub.authorizations) == {"Bearer hf_secret"} and hub.cdn.authorizations == [None]


def test_a_gated_repository_says_what_to_do(hub: Hub) -> None:
    hub.gated.add("o/one")
    with pytest.raises(NotOffered, match=rf"accept its terms at {hub.root}/o/one"):
        offer_of("o/one/model.gguf")


def test_a_broken_download_is_resumed_and_a_lie_thrown_away(hub: Hub, tmp_path: Path) -> None:
    offer = offer_of("o/one/model.gguf")
    hub.cdn.behaviour.cut_after = [300_000, 700_000]
    fetch(offer, tmp_path)
    assert [asked for _, asked in hub.cdn.asked] == [None, "bytes=300000-", "bytes=1000000-"]
    hub.cdn.behaviour.replaced_by = MODEL[:-1] + b"\0"
    with pytest.raises(Exception, match="checksum"):
        fetch(offer, tmp_path / "other")
    hub.cdn.behaviour.replaced_by = MODEL + b"more"
    with pytest.raises(Exception, match="announced"):
        fetch(offer, tmp_path / "other")
    assert not list((tmp_path / "other").iterdir())


def test_a_busy_hub_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.behaviour.page_statuses, hub.behaviour.retry_after = [429, 503], "0"
    hub.behaviour.statuses, hub.cdn.behaviour.statuses = [429], [503]
    fetch(offer_of("o/one/model.gguf"), tmp_path)
    hub.behaviour.page_statuses, hub.behaviour.retry_after = [503] * 9, None
    with pytest.raises(DownloadFailed, match="answers 503"):
        offer_of("o/one")


@pytest.mark.parametrize(
    ("text", "model", "note"),
    [
        ("o/big-GGUF", "big-Q4_K_M.gguf", "Q4_K_M: the usual choice among Q4_K_M, Q4_K_XL"),
        ("o/big-GGUF:q8_0", "big-Q8_0.gguf", "as asked for"),
        ("hf.co/o/big-GGUF:UD-Q4_K_XL", "big-UD-Q4_K_XL.gguf", "as asked for"),
        ("o/big-GGUF:Q4_K_XL", "big-UD-Q4_K_XL.gguf", "as asked for"),
        ("o/big-GGUF:BF16", "big-BF16-00001-of-00003.gguf", "as asked for"),
        ("o/one", "model.gguf", "the only one"),
    ],
)
def test_a_quantization_is_chosen_and_named(text: str, model: str, note: str) -> None:
    offer = offer_of(text)
    assert offer.model == model and note in offer.note


def test_what_fits_into_memory_is_chosen() -> None:
    def choice(memory: int) -> str:
        return offer_of("o/big-GGUF", Access(Path(), private_addresses=True, memory=memory)).note

    assert choice(60_000).startswith("Q4_K_M: the usual choice")
    assert choice(49_000).startswith("Q4_0: the largest that fits into 49 kB of memory, as Q4_K_M has 45 kB")
    assert choice(40_000).startswith("Q2_K: the largest that fits")
    assert "smallest, though too large" in choice(1000)


def test_an_unknown_quantization_names_those_there_are() -> None:
    with pytest.raises(NotOffered, match=r"no quantization Q6_K; there are: BF16, Q2_K, Q4_0, Q4_K_M"):
        offer_of("o/big-GGUF:Q6_K")


def test_a_split_model_comes_whole(tmp_path: Path) -> None:
    for text in ("o/big-GGUF:BF16", "o/big-GGUF/BF16/big-BF16-00002-of-00003.gguf"):
        offer = offer_of(text)
        assert paths(offer) == [f"big-BF16-0000{n}-of-00003.gguf" for n in (1, 2, 3)] and offer.model == paths(offer)[0]
    assert [path.read_bytes() for path in fetch(offer, tmp_path)] == list(PARTS.values())


def test_a_split_model_that_lacks_a_part_is_not_chosen(hub: Hub) -> None:
    hub.add("o/half", {"a-Q4_K_M-00001-of-00002.gguf": b"GGUF", "a-Q8_0.gguf": b"GGUF"})
    assert offer_of("o/half").model == "a-Q8_0.gguf"


def test_a_projector_comes_with_its_model() -> None:
    for text in ("o/seeing", "o/seeing/see-Q4_K_M.gguf"):
        offer = offer_of(text)
        assert paths(offer) == ["see-Q4_K_M.gguf", "seeing-mmproj-F16.gguf"] == [offer.model, offer.mmproj]


def test_a_folder_has_what_transformers_needs_and_no_code(tmp_path: Path) -> None:
    offer = offer_of("o/folder")
    names = ["1_Pooling/config.json", "LICENSE", "tokenizer.json", "model.safetensors", "config.json"]
    assert paths(offer) == [f"o/folder/{name}" for name in names] and offer.model == "o/folder"
    fetch(offer, tmp_path)
    assert (tmp_path / "o/folder/1_Pooling/config.json").read_bytes() == b"{}"


def test_pickles_are_refused_unless_they_are_trusted() -> None:
    for text in ("o/pickled", "o/pickled/pytorch_model.bin"):
        with pytest.raises(NotOffered, match="trust_pickles"):
            offer_of(text)
    trusting = Access(Path(), private_addresses=True, pickles=True)
    assert paths(offer_of("o/pickled", trusting)) == ["o/pickled/pytorch_model.bin", "o/pickled/config.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("o/none", "There is no o/none at"),
        ("o/one@v9", "no branch, tag or commit 'v9'"),
        ("o/one/other.gguf", "no file other.gguf; there are: model.gguf"),
    ],
)
def test_what_is_not_there_is_named(text: str, said: str) -> None:
    with pytest.raises(NotOffered, match=said):
        offer_of(text)


@pytest.mark.parametrize("name", ["a/../../x.gguf", "CON.gguf", ".x.gguf", "a\u202eb.gguf", "a\\b.gguf"])
def test_a_hostile_name_is_refused(hub: Hub, name: str) -> None:
    hub.add("o/hostile", {name: b"GGUF"})
    with pytest.raises(NotOffered, match="has a file"):
        offer_of("o/hostile")


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"adapter_config.json": b"{}", "config.json": b"{}"}, "is an adapter"),
        ({"README.md": b"x"}, "neither GGUF files nor a config.json"),
        ({"config.json": b"{}", "tf_model.h5": b"x"}, "no weights in a form that this server runs"),
    ],
)
def test_what_is_no_model_to_run_is_named(hub: Hub, files: dict[str, bytes], said: str) -> None:
    hub.add("o/other", files)
    with pytest.raises(NotOffered, match=said):
        offer_of("o/other")


def test_a_mirror_that_tells_no_sizes_is_asked_file_by_file(hub: Hub, tmp_path: Path) -> None:
    hub.tells_sizes = False
    offer = offer_of("o/one/model.gguf")
    assert offer.files[0].size == len(MODEL) and offer.files[0].sha256
    fetch(offer, tmp_path)
    assert (tmp_path / "model.gguf").read_bytes() == MODEL


def test_offline_nobody_is_asked(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Offline, match="as LOCALAI_OFFLINE is set; unset it, or put"):
        offer_of("o/one", Access(Path(), offline=True))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Offline, match="HF_HUB_OFFLINE"):
        offer_of("o/one", OPERATOR)
    assert not hub.authorizations


def test_what_is_no_hub_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "describe", lambda repo: ["please", "log", "in"])
    with pytest.raises(NotOffered, match="does not answer as a hub does"):
        offer_of("o/one")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(DownloadFailed, match=r"Cannot reach the hub http://127\.0\.0\.1:1: "):
        offer_of("o/one")
