"""Which model a name means, and what a models folder holds while it changes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from localai_flask.config.folder import registry as registry_module
from localai_flask.config.folder.look import NEVER
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model_yaml import file_reader
from localai_flask.errors import ConfigError, InvalidRequest, ModelDisabled, ModelNotFound
from localai_flask.settings import Settings


@pytest.fixture(autouse=True)
def look_every_time(monkeypatch):
    monkeypatch.setattr(Registry, "recheck_s", 0.0)


@pytest.fixture
def folder(tmp_path):
    """Make files in a models folder: a text is written, None makes a folder with a config.json."""

    def fill(**files: str | None) -> Path:
        for name, content in files.items():
            path = tmp_path / name.replace("__", ".")
            if content is None:
                path.mkdir()
                (path / "config.json").write_text("{}")
            else:
                path.write_text(content)
        return tmp_path

    return fill


def over(path: Path, **settings) -> Registry:
    return Registry(Settings(models_path=path, **settings))


def test_what_is_listed(folder):
    path = folder(
        b__yaml="name: bee\nparameters: {model: b.gguf}",
        list__yml="[{name: two, backend: echo}, {name: one, backend: echo}]",
        b__gguf="",
        Loose__gguf="",
        UPPER__GGUF="",
        snapshot=None,
        notes__txt="",
        weights__bin="",
    )
    (path / ".hidden.yaml").write_text("name: hidden\nbackend: echo")
    (path / "plain folder").mkdir()
    (path / "dangling.gguf").symlink_to(path / "nowhere.gguf")
    assert list(over(path).models()) == ["Loose.gguf", "UPPER.GGUF", "bee", "one", "snapshot", "two"]
    assert over(path).problems() == {}


def test_a_file_of_models_outside_of_the_folder(folder, tmp_path_factory):
    path = folder(a__gguf="", b__yaml="name: b\nbackend: echo")
    file = tmp_path_factory.mktemp("etc") / "all.yaml"
    file.write_text("[{name: one, parameters: {model: a.gguf}}, {name: two, backend: echo}, {name: b, backend: echo}]")
    registry = over(path, models_config_file=str(file))
    assert list(registry.models()) == ["b", "one", "two"]
    assert registry.get("one").model_path == path / "a.gguf"
    (problem,) = registry.findings()
    assert "the model name 'b' is also in" in problem.text
    file.write_text("name: three\nbackend: echo")
    assert list(registry.models()) == ["a.gguf", "b", "three"]


def test_parts_and_projectors_are_not_models_of_their_own(folder):
    files = ["big-00001-of-00012.gguf", "big-00002-of-00012.gguf", "big-00011-of-00012.gguf", "mmproj-F16.gguf"]
    path = folder(**{name.replace(".", "__"): "" for name in files})
    assert list(over(path).models()) == ["big-00001-of-00012.gguf"]


def test_files_and_folders_that_a_config_uses_are_not_listed_again(folder):
    path = folder(
        a__yaml="name: a\nparameters: {model: ./a.gguf}",
        b__yaml="name: b\nparameters: {model: hub/model.gguf}",
        broken__yaml="name: c\nlimits: 1\nparameters: {model: c.gguf}",
        a__gguf="",
        c__gguf="",
        hub=None,
    )
    assert list(over(path).models()) == ["a", "b"]


def test_configs_are_filled_in(folder):
    path = folder(
        a__yaml="parameters: {model: a.gguf}\nthreads: 3\ncontext_size: -1\nf16: false",
        b__yaml="parameters: {model: snapshot}\nthreads: 0",
        c__yaml="parameters: {model: not-there}",
        d__yaml="parameters: {model: x}\nbackend: sentencetransformers",
        e__yaml="parameters: {model: x}\nbackend: llama",
        snapshot=None,
        loose__gguf="",
    )
    models = over(path, threads=8, context_size=512, f16=True).models()
    assert {name: each.backend for name, each in models.items()} == {
        "a": "llama-cpp",
        "b": "transformers",
        "c": "llama-cpp",
        "d": "transformers",
        "e": "llama-cpp",
        "loose.gguf": "llama-cpp",
    }
    assert (models["a"].threads, models["a"].context_size, models["a"].f16) == (3, -1, False)
    assert (models["b"].threads, models["b"].context_size, models["b"].f16) == (8, 512, True)
    assert models["d"].type == "SentenceTransformer"
    assert models["a"].source == str(path / "a.yaml")
    assert models["loose.gguf"].model_path == path / "loose.gguf"
    unset = over(path).models()["loose.gguf"]
    assert (unset.threads, unset.context_size, unset.f16) == (None, None, None)


def test_a_relative_models_folder_becomes_absolute(folder, monkeypatch):
    monkeypatch.chdir(folder(a__gguf=""))
    assert over(Path(".")).get("a").model_path.is_absolute()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("foo.gguf", "foo.gguf"),
        ("foo", "foo.gguf"),
        ("foo:latest", "foo.gguf"),
        ("bee", "bee"),
        ("bee:latest", "bee"),
        ("b", "bee"),  # the YAML file's stem
        ("b.gguf", "bee"),  # its model file
        ("b:latest", "named:latest"),
        ("nick", "bee"),
        ("nick:latest", "bee"),
        ("stemmed", "foo.gguf"),  # an alias of a file's stem
        ("lists", "z-first"),  # a list file's stem means its first model
    ],
)
def test_names(folder, asked, found):
    path = folder(
        b__yaml="name: bee\nparameters: {model: b.gguf}",
        c__yaml="name: b:latest\nbackend: echo\ndescription: named:latest",
        lists__yaml="[{name: z-first, backend: echo}, {name: a-second, backend: echo}]",
        nick__yaml="alias: bee",
        stemmed__yaml="alias: foo",
        foo__gguf="",
        b__gguf="",
    )
    config = over(path).get(asked)
    assert (config.description or config.name) == found
    assert over(path).is_model(asked)


def test_who_answers_for_a_listed_name(folder):
    path = folder(
        b__yaml="name: bee\nparameters: {model: b.gguf}",
        plain__yaml="alias: bee",
        filed__yaml="alias: b.gguf",
        stemmed__yaml="alias: foo",
        gone__yaml="alias: nothing",
        twice__yaml="alias: plain",
        faulty__yaml="broken: [",
        of_faulty__yaml="alias: faulty",
        foo__gguf="",
        b__gguf="",
    )
    registry = over(path)
    nowhere = ("gone", "twice", "of_faulty")
    assert {name: registry.target_of(config).name for name, config in registry.models().items()} == {
        **dict.fromkeys(("bee", "plain", "filed"), "bee"),
        **dict.fromkeys(("foo.gguf", "stemmed"), "foo.gguf"),
        **{name: name for name in nowhere},
    }


@pytest.mark.parametrize(
    "name", ["q", ".*", "fo", "FOO", "foo.ggu", "", "../foo", "foo.gguf.", "foo:7b", "/etc/passwd"]
)
def test_names_are_no_patterns_and_no_paths(folder, name):
    registry = over(folder(foo__gguf="", qwen__gguf=""))
    assert not registry.is_model(name)
    with pytest.raises(ModelNotFound):
        registry.get(name)


def test_an_exact_name_comes_before_everything_that_resembles_it(folder):
    path = folder(
        foo__gguf="", a__yaml="name: foo\nbackend: echo", foo__yaml="name: other\nbackend: echo", z__yaml="broken: ["
    )
    assert over(path).get("foo").source == str(path / "a.yaml")
    assert over(path).get("foo.gguf").source == str(path / "foo.gguf")


def test_unknown_model_tells_the_nearest_names(folder):
    path = folder(**{f"{name}__gguf": "" for name in ("llama", "qwen-7b", "a", "b", "c", "d", "e")})
    with pytest.raises(ModelNotFound) as caught:
        over(path).get("qwen-8b")
    message = str(caught.value)
    assert message.startswith("There is no model 'qwen-8b'. GET /v1/models lists the models: qwen-7b.gguf, ")
    assert message.count(".gguf") == 5
    assert caught.value.info.param == "model"
    with pytest.raises(ModelNotFound) as caught:
        over(path).get("x" * 100_000)
    assert len(str(caught.value)) < 500


def test_aliases_go_one_hop(folder):
    path = folder(
        a__yaml="alias: real",
        b__yaml="alias: a",
        c__yaml="alias: gone",
        real__yaml="backend: echo",
        off__yaml="backend: echo\ndisabled: true",
        d__yaml="alias: off",
    )
    registry = over(path)
    assert registry.get("a").name == "real"
    with pytest.raises(ConfigError, match="itself an alias; name its target 'real'"):
        registry.get("b")
    with pytest.raises(ConfigError, match="'gone', which is no model"):
        registry.get("c")
    with pytest.raises(ModelDisabled):
        registry.get("d")


def test_an_alias_of_itself(folder):
    with pytest.raises(ConfigError, match="`alias` names the model itself"):
        over(folder(a__yaml="alias: a")).get("a")


@pytest.mark.parametrize("text", ["alias: b\nbackend: echo", "alias: b\nparameters: {model: x}"])
def test_an_alias_is_nothing_else(folder, text):
    with pytest.raises(ConfigError, match="`alias` only names another model"):
        over(folder(a__yaml=text, b__yaml="backend: echo")).get("a")


def test_nothing_behind_the_end_of_a_document(folder):
    """Go's reader takes the first document of a file."""
    assert over(folder(a__yaml="---\nbackend: echo\n---\n# the end\n")).get("a").backend == "echo"
    with pytest.raises(ConfigError, match=r"line 2.* but found another document"):
        over(folder(a__yaml="backend: echo\n---\nbackend: llama-cpp\n")).get("a")


def test_a_negative_limit_of_tokens_is_none(folder):
    registry = over(
        folder(a__yaml="backend: echo\nparameters: {max_tokens: -1}", b__yaml="backend: echo\nmax_tokens: -2")
    )
    assert registry.get("a").parameters.max_tokens == registry.get("b").parameters.max_tokens == 0
    assert registry.findings() == ()


def test_disabled_models_are_listed_and_refused(folder):
    registry = over(folder(a__yaml="backend: echo\ndisabled: true", b__yaml="backend: echo"))
    assert list(registry.models()) == ["a", "b"]
    with pytest.raises(ModelDisabled):
        registry.get("a")
    assert registry.resolve(None).name == "b"


def test_a_problem_is_raised_for_its_name_and_harms_no_other(folder):
    path = folder(
        good__yaml="backend: echo",
        syntax__yaml="name: [",
        key__yaml="name: named\nbackend: echo\ncontext_size: x",
        list__yaml="[{name: l1, backend: echo}, {name: l2, backend: echo, limits: 1}, {backend: echo}]",
        syntax__gguf="",
    )
    registry = over(path)
    assert list(registry.models()) == ["good", "l1", "syntax.gguf"]
    assert set(registry.problems()) == {"syntax", "named", "l2", "list"}
    for name, said in (("syntax", "line 2"), ("named", "context_size"), ("l2", "limits"), ("list", "no `name`")):
        with pytest.raises(ConfigError, match=said):
            registry.get(name)
        assert registry.is_model(name)


def test_findings_are_kept_with_the_catalog(folder):
    path = folder(
        a__yaml="backend: echo\nnonsense: 1",
        b__yaml="- {name: l1, backend: echo}\n- name: l2\n  backend: echo\n  limits: 1",
        c__yaml="name: [",
        d__yaml="name: a\nbackend: echo",
    )
    found = [(Path(each.file).name, each.line, each.model, each.is_fault) for each in over(path).findings()]
    assert found == [
        ("a.yaml", 2, "a", False),
        ("b.yaml", 4, "l2", True),
        ("c.yaml", 2, "c", True),
        ("d.yaml", 0, "d", True),
    ]
    texts = [each.text for each in over(path).findings()]
    assert texts[0] == "`nonsense` is unknown."
    assert all(str(path) not in text for text in texts[:3])


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("template:\n  chat: '{{.Input'", r"a.yaml, line 4: `template.chat` is no Go template: .* in its line 1"),
        ("template: {completion: '{{nofunction .Input}}'}", "`template.completion` is no Go template: .*nofunction"),
        ("template: {chat_message: named}", r"`template.chat_message`, read from named, is no Go template: .* line 2"),
        ("", r"the template .*m.gguf.tmpl is no Go template"),
    ],
)
def test_a_go_template_that_does_not_parse_is_a_fault_of_the_file(folder, template, said):
    path = folder(
        a__yaml=f"name: a\nparameters: {{model: m.gguf}}\n{template}",
        named__tmpl="fine\n{{if}}",
        ok__yaml="name: ok\nbackend: echo\ntemplate: {chat: '{{.Input}}'}",
    )
    if not template:
        (path / "m.gguf.tmpl").write_text("{{end}}")
    with pytest.raises(ConfigError, match=said):
        over(path).get("a")
    assert over(path).get("ok").template.chat == "{{.Input}}"


def test_templates_that_are_not_used_need_not_parse(folder):
    path = folder(
        a__yaml="backend: echo\ntemplate: {chat: '{{', multimodal: '{{', use_tokenizer_template: true}",
        b__yaml="backend: echo\ntemplate: {completion: '{{', use_tokenizer_template: true}",
    )
    assert list(over(path).models()) == ["a"]


def test_a_link_in_the_folder_may_lead_anywhere(folder, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk")
    (disk / "m.gguf").touch()
    path = folder(a__yaml="parameters: {model: disk/m.gguf}")
    (path / "disk").symlink_to(disk)
    assert over(path).get("a").model_path.exists()


def test_an_error_that_is_raised_often_collects_no_tracebacks(folder):
    registry = over(folder(a__yaml="["))
    kept = registry.problems()["a"]
    before = kept.__traceback__
    with pytest.raises(ConfigError):
        registry.get("a")
    assert kept.__traceback__ is before


def test_the_second_of_two_equal_names_is_a_problem(folder):
    path = folder(a__yaml="name: x\nbackend: echo", b__yaml="name: x\nbackend: echo\ndescription: second")
    registry = over(path)
    assert registry.get("x").description == ""
    message = str(registry.problems()["b"])
    assert str(path / "a.yaml") in message
    assert str(path / "b.yaml") in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("parameters: {model: /etc/passwd}", "leads out of the models folder"),
        ("parameters: {model: ../a.gguf}", "leads out of the models folder"),
        ("parameters: {model: a/../../b.gguf}", "leads out of the models folder"),
        ("backend: echo\ndownload_files: [{filename: ../x}]", "leads out of the models folder"),
        ("parameters: {model: 's3://o/r/f.gguf'}", "is an address of no kind"),
        ("parameters: {model: 'huggingface://o/../f.gguf'}", "no repository"),
        ("parameters: {model: 'file:///etc/passwd'}", "leads out of the models folder"),
        ("parameters: {model: 'file://../x.gguf'}", "does not lead straight down"),
        ("backend: llama-cpp", "`parameters.model` is missing"),
        ("description: nothing", "`parameters.model` is missing"),
        ("pipeline: {llm: gpt-4, tts: piper}", "`pipeline` joins models to one that speaks"),
        ("backend: kokoro\ntts: {voice: af}", "`backend: kokoro` is for speech and other sound"),
    ],
)
def test_models_outside_the_folder_and_without_a_file_are_refused(folder, text, said):
    with pytest.raises(ConfigError, match=said):
        over(folder(a__yaml=text)).get("a")


def test_a_missing_model_file_is_the_workers_matter(folder):
    assert over(folder(a__yaml="parameters: {model: gone.gguf}")).get("a").parameters.model == "gone.gguf"


def test_listed_downloads_must_be_there(folder):
    path = folder(a__yaml="backend: echo\ndownload_files: [{filename: sub/x.bin, uri: 's3://example.org/x'}]")
    registry = over(path)
    with pytest.raises(ConfigError, match=f"download it from s3://example.org/x to {path / 'sub/x.bin'}"):
        registry.get("a")
    (path / "sub").mkdir()
    (path / "sub/x.bin").touch()
    assert registry.get("a").name == "a"


def test_no_name_means_the_default_else_the_only_else_the_first_that_fits(folder):
    path = folder(a_embed__yaml="backend: echo\nembeddings: true")
    assert over(path).resolve(None, "chat").name == "a_embed"  # the only one serves everything
    folder(b__yaml="backend: echo", c__yaml="backend: echo", aaa__yaml="alias: c")
    for _ in range(5):
        assert over(path).resolve("", "chat").name == "b"
    assert over(path).resolve(None, "embeddings").name == "a_embed"
    assert over(path, default_model="c").resolve(None).name == "c"
    assert over(path, default_model="c").resolve("b").name == "b"
    with pytest.raises(ModelNotFound, match="'gone'"):
        over(path, default_model="gone").resolve(None)
    with pytest.raises(InvalidRequest, match=r"Name a model.*rerank.*a_embed, b, c") as caught:
        over(path).resolve(None, "rerank")
    assert caught.value.info.param == "model"


@pytest.mark.parametrize(
    ("uses", "fits"),
    [("[]", "a"), ("[FLAG_CHAT]", "a"), ("[llm]", "a"), ("[FLAG_IMAGE]", "b"), ("[image, edit]", "a")],
)
def test_declared_use_cases_count(folder, uses, fits):
    path = folder(a__yaml=f"backend: echo\nknown_usecases: {uses}", b__yaml="backend: echo")
    assert over(path).resolve(None, "edit").name == fits
    assert over(path).resolve(None, "completion").name == fits


def test_nothing_to_resolve_says_what_to_do(folder, tmp_path):
    with pytest.raises(ModelNotFound, match=r"put a \.gguf file or a YAML file there"):
        over(tmp_path / "not there").resolve(None)
    with pytest.raises(ModelNotFound, match="there are none yet"):
        over(folder()).get("x")
    with pytest.raises(ConfigError, match="limits"):
        over(folder(a__yaml="limits: 1")).resolve(None)


def test_changes_in_the_folder_are_seen(folder):
    path = folder(a__yaml="backend: echo")
    registry = over(path)
    assert list(registry.models()) == ["a"]
    folder(new__yaml="", model__gguf="")
    assert list(registry.models()) == ["a", "model.gguf"]
    assert "is empty" in str(registry.problems()["new"])  # half written
    folder(new__yaml="backend: echo\nparameters: {model: model.gguf}")
    assert list(registry.models()) == ["a", "new"]
    assert registry.problems() == {}
    (path / "a.yaml").unlink()
    assert list(registry.models()) == ["new"]
    (path / "hub").mkdir()
    assert list(registry.models()) == ["new"]
    (path / "hub" / "config.json").write_text("{}")
    assert list(registry.models()) == ["hub", "new"]


def test_a_rewrite_of_equal_size_is_seen(folder):
    path = folder(a__yaml="backend: echo\ndescription: 1")
    registry = over(path)
    assert registry.get("a").description == "1"
    folder(a__yaml="backend: echo\ndescription: 2")
    os.utime(path / "a.yaml", ns=(1, 1))
    assert registry.get("a").description == "2"


def test_an_unchanged_folder_is_not_read_again_nor_looked_at_within_the_second(folder, monkeypatch):
    registry = over(folder(a__yaml="backend: echo", b__yaml="backend: echo"))
    first = registry.get("a")
    reads, looks = [], []
    real_read, real_look = file_reader.read, registry_module.look
    monkeypatch.setattr(file_reader, "read", lambda file: reads.append(file.name) or real_read(file))
    monkeypatch.setattr(registry_module, "look", lambda path: looks.append(path) or real_look(path))
    assert registry.get("a") is first
    folder(b__yaml="backend: echo\ndescription: changed")
    registry.models()
    assert reads == ["b.yaml"]
    monkeypatch.setattr(Registry, "recheck_s", 3600.0)
    looks.clear()
    registry.get("a")
    assert looks == []


def test_threads_do_not_wait_for_the_one_that_reads(folder, monkeypatch):
    path = folder(a__yaml="backend: echo")
    registry = over(path)
    registry.models()
    reading, go_on = threading.Event(), threading.Event()
    real_read = file_reader.read

    def slow_read(file):
        reading.set()
        assert go_on.wait(10)
        return real_read(file)

    monkeypatch.setattr(file_reader, "read", slow_read)
    folder(b__yaml="backend: echo")
    reader = threading.Thread(target=registry.models)
    reader.start()
    assert reading.wait(10)
    assert list(registry.models()) == ["a"]
    go_on.set()
    reader.join()
    assert list(registry.models()) == ["a", "b"]


def test_importing_the_room_brings_no_engine_and_no_web():
    code = (
        "import sys, localai_flask.config.folder.registry, localai_flask.config.sampling.sampling;"
        "import localai_flask.config.files.gguf;"
        "print([m for m in ('flask', 'numpy', 'llama_cpp', 'torch', 'gguf') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_file_that_was_just_dropped_in_is_found_by_all_who_ask_at_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    registry = Registry(Settings(models_path=tmp_path))
    registry.models()
    for number in range(50):
        (tmp_path / f"m{number}.yaml").write_text(f"name: m{number}\nbackend: echo\n")
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(registry.get, [f"m{number}"] * 8))
        assert {config.name for config in found} == {f"m{number}"}


@pytest.mark.parametrize("name", ["rwkv", "llama", "llama-grpc", "llama-cpp-fallback"])
def test_older_names_of_backends_run_gguf_with_llama_cpp(folder, name):
    path = folder(a__yaml=f"name: a\nbackend: {name}\nparameters: {{model: a.gguf}}")
    assert over(path).get("a").backend == "llama-cpp"


@pytest.mark.parametrize("name", ["ik-llama", "ik_llama", "ik-llama-cpp"])
def test_every_name_of_ik_llama_means_its_program(folder, name):
    path = folder(a__yaml=f"name: a\nbackend: {name}\nparameters: {{model: a.gguf}}")
    assert over(path).get("a").backend == "ik-llama-cpp"


def test_a_file_that_was_emptied_a_moment_ago_is_being_written(folder):
    path = folder(m__yaml="name: m\nbackend: echo\n") / "m.yaml"
    registry = over(path.parent)
    assert registry.get("m").backend == "echo"
    path.write_text("")
    assert registry.get("m").backend == "echo"
    path.write_text("name: m\nbackend: echo\ncontext_size: 9\n")
    assert registry.get("m").context_size == 9
    path.write_text("")
    registry.writing_s = 0.0
    with pytest.raises(ConfigError, match="empty"):
        registry.get("m")


def test_when_a_model_was_last_seen(folder):
    path = folder(a__yaml="name: a\nbackend: echo", b__yaml="name: b\nbackend: echo")
    registry = over(path)
    a, b = registry.get("a"), registry.get("b")
    first = registry.last_look(a)
    assert registry.last_look(a).is_after(first)
    folder(b__yaml="name: b\nbackend: echo\nsystem_prompt: be brief")
    assert registry.last_look(a).is_after(first), "its neighbour has changed, not this one"
    assert registry.last_look(b) == NEVER, "the change was not looked for"
    assert registry.last_look(registry.get("b")).is_after(first)


def test_what_is_mended_is_seen_at_once(folder, monkeypatch):
    monkeypatch.setattr(Registry, "recheck_s", 3600.0)
    path = folder(a__yaml="")
    registry = over(path)
    with pytest.raises(ConfigError, match="is empty"):
        registry.get("a")
    folder(a__yaml="name: a\nbackend: echo")
    assert registry.get("a").backend == "echo"


def test_an_entry_of_a_gallery_is_told_from_a_models_yaml(tmp_path: Path) -> None:
    (tmp_path / "entry.yaml").write_text("name: entry\nconfig_file: |\n  backend: llama-cpp\nfiles: []\n")
    problem = Registry(Settings(models_path=tmp_path)).problems()["entry"]
    assert "this is a gallery's entry" in str(problem) and "`config_file`" in str(problem)


def test_names_are_those_of_models_that_are_not_switched_off(tmp_path: Path) -> None:
    for name, more in (("on", ""), ("off", "disabled: true\n"), ("faulty", "context_size: -5\n")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nbackend: echo\n{more}")
    names, look = Registry(Settings(models_path=tmp_path)).refresh_names()
    assert names == {"on", "faulty"} and look.is_after(NEVER)


def test_models_of_one_engine_share_the_first_ones_worker(folder):
    path = folder(
        a__yaml="- {name: q, parameters: {model: q.gguf}}\n"
        "- {name: 'q:precise', parameters: {model: q.gguf, temperature: 0}, template: {chat: '{{.Input}}'}}\n"
        "- {name: 'q:long', parameters: {model: q.gguf}, context_size: 99}\n"
        "- {name: a, parameters: {model: q.gguf}, disabled: true}\n"
        "- {name: e1, backend: echo}\n- {name: e2, backend: echo}\n",
        q__gguf="",
    )
    models = Registry(Settings(models_path=path)).models()
    assert {name: each.variant_of for name, each in models.items() if each.variant_of} == {"q:precise": "q"}
    first, variant = models["q"], models["q:precise"]
    assert (variant.key, variant.engine.name) == (first.key, "q")
    assert (variant.name, variant.parameters.temperature) == ("q:precise", 0)
    assert models["q:long"].key != first.key
