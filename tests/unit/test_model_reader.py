"""Model YAML to `ModelConfig`: what is accepted, and the sentence for what is not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from localai_flask.config import blocks, model
from localai_flask.config.blocks import DownloadFile
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml import model_reader, yamlfile
from localai_flask.config.model_yaml.key_fates import ANSWERS, KEY_FATES, SAFETY
from localai_flask.config.model_yaml.model_reader import Loaded
from localai_flask.config.model_yaml.yamlfile import Document
from localai_flask.errors import ConfigError
from localai_flask.settings import Settings


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> Loaded:
        file = tmp_path / "tiny.yaml"
        file.write_text(text, encoding="utf-8")
        (document,) = yamlfile.read(file)
        return model_reader.load(document)

    return read


@pytest.fixture
def load(read):
    """Load what has nothing to warn of."""

    def load(text: str) -> ModelConfig:
        loaded = read(text)
        assert loaded.findings == ()
        return loaded.config

    return load


@pytest.fixture
def warnings(read):
    """Load what is usable all the same: the config, and the warnings with their lines."""

    def warnings(text: str) -> tuple[ModelConfig, list[tuple[int, str]]]:
        loaded = read(text)
        return loaded.config, [(finding.line, finding.text) for finding in loaded.findings]

    return warnings


@pytest.fixture
def refusal(read):
    def refusal(text: str) -> str:
        with pytest.raises(ConfigError) as caught:
            read(text)
        message = str(caught.value)
        assert "tiny.yaml" in message
        assert message.endswith(".")
        return message

    return refusal


def test_every_block_is_read(load):
    config = load("""
name: Tiny
description: a test
backend: llama-cpp
parameters:
  model: tiny.gguf
  temperature: 0
  top_k: 0.9
  logit_bias: {50256: -100, "7": 1.5}
template:
  chat: "{{.Input}}"
  join_chat_messages_by_character: ""
limits: {max_concurrent: 4}
context_size: 2048
f16: true
mmap: null
roles: {user: "USER: "}
stopwords: ["<|im_end|>", "</s>"]
options: [parallel:4, use_jinja]
chat_template_kwargs: {enable_thinking: false, depth: {max: 2}}
download_files: [{filename: tiny.gguf, uri: "https://example.org/tiny.gguf"}]
known_usecases: [FLAG_CHAT]
""")
    assert (config.name, config.backend, config.context_size, config.f16, config.mmap) == (
        "Tiny",
        "llama-cpp",
        2048,
        True,
        None,
    )
    assert (config.parameters.temperature, config.parameters.top_k) == (0.0, 0)  # fractions are cut off, as in LocalAI
    assert config.parameters.logit_bias == {"50256": -100.0, "7": 1.5}
    assert config.template.chat == "{{.Input}}"
    assert config.template.join_chat_messages_by_character == ""
    assert (config.limits.max_concurrent, config.limits.retry_after_seconds) == (4, 1)
    assert config.stopwords == ("<|im_end|>", "</s>")
    assert (config.option("n_parallel", "parallel"), config.option("use_jinja")) == ("4", "true")
    assert config.chat_template_kwargs == {"enable_thinking": False, "depth": {"max": 2}}
    assert config.download_files == (DownloadFile(filename="tiny.gguf", uri="https://example.org/tiny.gguf"),)
    assert model.decode(model.encode(config)) == config


def test_name_is_the_file_stem_unless_given(load):
    assert load("parameters: {model: a.gguf}").name == "tiny"
    assert load("name:\nparameters: {model: a.gguf}").name == "tiny"
    assert load("name: 7").name == "7"


def test_a_new_key_needs_one_line_only(tmp_path, monkeypatch):
    class Wider(ModelConfig, frozen=True, kw_only=True):
        novelty: tuple[int, ...] = ()

    monkeypatch.setattr(model, "ModelConfig", Wider)
    loaded = model_reader.load(Document(tmp_path / "x.yaml", {"name": "x", "novelty": [1, 2.0]}))
    assert loaded.config.novelty == (1, 2)


def test_null_means_unset_at_every_level(load):
    assert load(
        "parameters: {model: a, top_p: ~}\ntemplate:\nstopwords: null\ngrammar:\nlimits: {max_concurrent: }"
    ) == (ModelConfig(name="tiny", parameters=blocks.Parameters(model="a")))


def test_one_stop_word_needs_no_list(load):
    assert load("stopwords: </s>").stopwords == ("</s>",)


def test_words_that_only_old_yaml_takes_for_values_stay_text(load):
    config = load("stopwords: [no, on, 12:30, 2024-01-01, 0x]\noptions: [yes]\nf16: on\nmmap: No\n")
    assert config.stopwords == ("no", "on", "12:30", "2024-01-01", "0x")
    assert config.options == ("yes",)
    assert (config.f16, config.mmap) == (True, False)


@pytest.mark.parametrize(("written", "meant"), [("010", 10), ("0x10", 16), ("0o10", 8), ("+5", 5)])
def test_integers_of_yaml_1_2(load, written, meant):
    assert load(f"context_size: {written}").context_size == meant


def test_exponents_without_a_point_are_numbers(load):
    assert load("parameters: {min_p: 5e-2}").parameters.min_p == 0.05


def test_localai_writes_batch_among_the_parameters(load):
    assert load("parameters: {model: a, batch: 64}").batch == 64


def test_a_key_in_its_right_place_wins_over_the_same_one_elsewhere(warnings):
    config, said = warnings("parameters:\n  batch: 64\nbatch: 32")
    assert config.batch == 32
    assert said == [(2, "`parameters.batch` says something else than `batch`, which counts.")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("context_size: '4'", "`context_size` must be a whole number, not '4'"),
        ("context_size: true", "`context_size` must be a whole number, not True"),
        ("context_size: .inf", "`context_size` must be a whole number, not inf"),
        ("context_size: -2", "`context_size` must be at least -1, not -2"),
        ("limit_mm_per_prompt: {image: -1}", "`limit_mm_per_prompt.image` must be at least 0, not -1"),
        ("embeddings: 1", "`embeddings` must be true or false, not 1"),
        ("parameters: {top_p: -0.5}", "`parameters.top_p` must be between 0 and 1, not -0.5"),
        ("parameters: {repeat_penalty: 0}", "`parameters.repeat_penalty` must be between 0.01 and 100"),
        ("parameters: {temperature: .nan}", "`parameters.temperature` must be a number"),
        ("parameters: {temperature: hot}", "`parameters.temperature` must be a number, not 'hot'"),
        ("parameters: {logit_bias: {-5: 1}}", "`parameters.logit_bias.-5` must match"),
        ("mirostat: 3", "`mirostat` must be between 0 and 2"),
        ("parameters: {logit_bias: {5: 101}}", "`parameters.logit_bias.5` must be between -100 and 100"),
        ("parameters: {seed: 99999999999999999999}", "`parameters.seed` must fit into 64 bits"),
        ("chat_template_kwargs: {a: 99999999999999999999}", "does not fit into 64 bits"),
        ("chat_template_kwargs: {a: {1: x}}", "put numbers that are keys in quotes"),
        ("parameters: tiny.gguf", "`parameters` must hold keys with values"),
        ("stopwords: [a, 1.5]", "`stopwords[1]` must be text, not 1.5; put it in quotes"),
        ("stopwords: {a: b}", "`stopwords` must be a list"),
        ("options: [{parallel: 4}]", "`options[0]` must be text"),
        ("options: [a, null]", "`options[1]` has no value; give it one, or remove it."),
        ("roles: {user: true}", "`roles.user` must be text"),
        ("roles: [user]", "`roles` must hold keys with values"),
        ("download_files: [{uri: a}]", "`download_files[0].filename` is missing"),
    ],
)
def test_what_does_not_fit_is_named(refusal, text, said):
    assert said in refusal(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("# nothing\n", "is empty"),
        ("just text", "must hold keys with values"),
        ("[]", "must hold keys with values"),
        ("name: x\n  backend: y", "line 2, column 10"),
        ("name: [a", "line 2, column 1"),
        ("name: x\nf16: true\nname: y", "line 3, column 1: the key 'name' stands here twice"),
        ("a: &a {b: *a}", "recursive"),
        ("a: !!python/object/apply:os.system [ls]", "python/object/apply:os.system"),
        ("a: !!timestamp x", "the tag tag:yaml.org,2002:timestamp"),
        ("a: !!bool perhaps", "is not YAML"),
        ("a: !!float ''", "is not YAML"),
        ("a: !!map [x]", "expected a mapping node"),
        ("name: x\n---\nname: y", "line 2"),
        ("seed: " + "9" * 5000, "is not YAML"),
    ],
)
def test_what_is_not_yaml_is_located(refusal, text, said):
    assert said in refusal(text)


def test_text_that_is_not_utf8(tmp_path):
    (tmp_path / "tiny.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match=r"not UTF-8 text \(byte 6\)"):
        yamlfile.read(tmp_path / "tiny.yaml")


def test_merge_keys_and_byte_order_marks_are_read(tmp_path):
    (tmp_path / "tiny.yaml").write_text("\ufeffa: &base {x: 1, y: 1}\nb: {<<: *base, y: 2}\n", encoding="utf-8")
    assert yamlfile.read(tmp_path / "tiny.yaml")[0].content["b"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("name: x\ncontxt_size: 3", 2, "`contxt_size` is unknown; perhaps `context_size` is meant."),
        (
            "parameters:\n  model: a\n  temprature: 1",
            3,
            "`parameters.temprature` is unknown; perhaps `temperature` is ",
        ),
        ("grammer: x", 1, "perhaps `grammar` is meant"),
        ("limits:\n  max_concurent: 3", 2, "`limits.max_concurent` is unknown; perhaps `max_concurrent` is meant"),
        ("download_files:\n- filename: a\n- filename: b\n  sha: c", 4, "`download_files[1].sha` is unknown."),
        ("function:\n  parallel_calls: true", 2, "is unknown here; it belongs under `function.grammar:`"),
        ("grammar: ''\nproperties_order: a", 2, "is unknown here; it belongs under `function.grammar:`"),
        ("template: {roles: {}}", 1, "belongs to the top level, outside of `template:`"),
        ("function: {grammar: {triggers: [{word: a, wrd: b}]}}", 1, "`function.grammar.triggers[0].wrd` is unknown"),
        ("qqqqq: 1", 1, "`qqqqq` is unknown."),
        ("models_path: /", 1, "`models_path` is unknown"),
        ("7: 1", 1, "`7` is unknown"),
    ],
)
def test_unknown_keys_cost_a_warning_with_line_and_nearest_name(warnings, text, line, said):
    _, ((where, warning),) = warnings(text)
    assert where == line
    assert said in warning


def test_a_warning_names_file_model_and_key(read):
    (finding,) = read("name: bee\nqqqqq: 1").findings
    assert (finding.model, finding.key, finding.is_fault) == ("bee", "qqqqq", False)
    assert finding.file.endswith("tiny.yaml")
    assert str(finding) == f"{finding.file}, line 2: `qqqqq` is unknown."


def test_lines_are_those_of_merged_and_listed_mappings(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text("- &a\n  name: one\n  qq: 1\n- <<: *a\n  name: two\n  zz: 1\n")
    one, two = (model_reader.load(document) for document in yamlfile.read(file))
    assert [(finding.line, finding.key) for finding in one.findings] == [(3, "qq")]
    assert [(finding.line, finding.key) for finding in two.findings] == [(3, "qq"), (6, "zz")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("threads: '4'", "`threads` must be a whole number, not '4'; it has no effect."),
        ("threads: -1", "`threads` must be at least 0, not -1; it has no effect."),
        ("mmap: 'true'", "`mmap` must be true or false, not 'true'; it has no effect."),
        ("flash_attention: sometimes", "`flash_attention` must match"),
        ("replicas: 0", "`replicas` must be at least 1"),
        ("known_usecases: [chat, 1.5]", "`known_usecases[1]` must be text"),
        ("description: [a]", "`description` must be text"),
    ],
)
def test_values_of_speed_that_cannot_be_used_are_passed_over(warnings, text, said):
    config, ((_, warning),) = warnings(text)
    assert warning.startswith(said)
    assert msgspec.structs.replace(config, known_usecases=()) == ModelConfig(name="tiny")


def test_all_that_is_passed_over_is_passed_over_at_once(warnings):
    config, said = warnings("threads: x\nreplicas: 0\nqq: 1\ndownload_files: [{filename: a, s: 1, t: 2}]\nf16: true")
    assert [line for line, _ in said] == [1, 2, 3, 4, 4]
    assert config == ModelConfig(name="tiny", f16=True, download_files=(DownloadFile(filename="a"),))


def test_keys_of_parameters_and_of_the_top_level_are_moved_to_their_place(load):
    config = load(
        "temperature: 0.5\ntop_k: 7\nmodel: m.gguf\nseed: 3\nparameters: {context_size: 512, f16: true, mmap: false, "
        "backend: llama-cpp, stopwords: [a], top_p: 0.5}"
    )
    assert (config.parameters.temperature, config.parameters.top_k, config.parameters.seed) == (0.5, 7, 3)
    assert (config.parameters.model, config.parameters.top_p) == ("m.gguf", 0.5)
    assert (config.context_size, config.f16, config.mmap, config.backend) == (512, True, False, "llama-cpp")
    assert config.stopwords == ("a",)


def test_a_fault_of_a_moved_key_stands_where_it_was_written(refusal):
    assert "tiny.yaml, line 2: `temperature` must be between 0 and 100" in refusal("name: x\ntemperature: -1")


def test_stop_is_another_word_for_stopwords(load, warnings):
    assert load("parameters: {stop: [a, b]}").stopwords == ("a", "b")
    assert load("stop: a").stopwords == ("a",)
    config, ((line, _),) = warnings("stopwords: [a]\nstop: [b]")
    assert (config.stopwords, line) == (("a",), 2)


def test_shares_beyond_one_keep_everything(warnings):
    config, said = warnings("parameters: {top_p: 80, typical_p: 0.9}")
    assert (config.parameters.top_p, config.parameters.typical_p) == (1.0, 0.9)
    assert said == [(1, "`parameters.top_p` is 80, which is read as 1.")]


def test_an_apostrophe_with_a_backslash_is_read_as_go_does(load, refusal):
    assert load("""stopwords: ["\\'", 'a\\', "b\\'c\\'"]""").stopwords == ("'", "a\\", "b'c'")
    assert "line 1" in refusal("""stopwords: ["\\w"]""")


def test_the_models_own_template_says_how_calls_are_written(warnings):
    text = "function: {grammar: {parallel_calls: true}, response_regex: [a]}\ntemplate: {use_tokenizer_template: %s}"
    config, said = warnings(text % "true")
    assert not config.function.is_json
    assert config.function.response_regex == ("a",)
    assert said[0][1].startswith("`function.grammar` has no effect beside `template.use_tokenizer_template`")
    config, said = warnings(text % "false")
    assert config.function.is_json
    assert said == []


@pytest.mark.parametrize(
    ("grammar", "key"),
    [
        ("{expect_strings_after_json: true}", "expect_strings_after_json"),
        ("{no_mixed_free_string: true}", "no_mixed_free_string"),
        ("{triggers: [{word: a}, {word: b}]}", "triggers"),
        ("{triggers: [{word: a}], mixed_mode: true}", "mixed_mode"),
        ("{properties_order: 'arguments,name'}", "properties_order"),
    ],
)
def test_conflicts_of_grammars_cost_a_warning_and_nothing_where_grammars_are_off(load, warnings, grammar, key):
    config, ((_, said),) = warnings(f"function: {{grammar: {grammar}}}")
    assert said.startswith(f"`function.grammar.{key}` ")
    assert config.function.settled(follows_template=False)[0] == config.function
    off = f"function: {{grammar: {grammar[:-1]}, disable: true}}}}"
    assert load(off).function.grammar.disable


def test_values_of_a_grammar_that_is_off_do_not_matter(warnings):
    config, _ = warnings("function: {grammar: {disable: true, schema_type: cobol, triggers: [{at_start: true}]}}")
    assert config.function.grammar.disable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("function: {xml_format: {tool_start: a}}", "`function.xml_format` is not supported"),
        ("function: {xml_format_preset: cobol}", "`function.xml_format_preset` must match"),
        ("function: {function_name_key: f, function_arguments_key: f}", "is the key of the name too"),
        ("reasoning: {disable: maybe}", "`reasoning.disable` must be"),
        ("reasoning: {tag_pairs: [{start: a, end: ''}]}", "`reasoning.tag_pairs[0].end` must match"),
        ("pii: {enabled: true}", "personal data"),
        ("cfg_scale: 1.5\nparameters: {negative_prompt: bad}", "`parameters.negative_prompt` is not supported yet"),
        ("parameters: {tfz: 0.9}", "use `min_p`"),
        ("parameters: {pooling: decayed_mean}", "`parameters.pooling` is not supported"),
        ("cutstrings: ['(']", "`cutstrings[0]` is '(', which is no regular expression"),
        ("function:\n  response_regex:\n  - a\n  - (", "line 4: `function.response_regex[1]` is '(', which"),
    ],
)
def test_keys_that_cannot_be_honoured_are_refused(refusal, text, said):
    assert said in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "grammar: ''",
        "mmproj:",
        "parameters: {tfz: 1}",
        "trust_remote_code: false",
        "engine_args: {}",
        "pii: {enabled: false, detectors: [x]}",
        "cfg_scale: 1\nparameters: {negative_prompt: ''}",
    ],
)
def test_a_refused_key_that_asks_for_nothing_is_harmless(load, text):
    assert load(text) == ModelConfig(name="tiny")


def test_no_key_is_both_read_and_known_elsewhere():
    ours = {*ModelConfig.__struct_fields__}
    ours |= {f"parameters.{name}" for name in blocks.Parameters.__struct_fields__}
    ours |= {f"template.{name}" for name in blocks.Template.__struct_fields__}
    assert not ours & set(KEY_FATES)


def test_each_refusal_has_one_of_two_reasons_and_others_have_none():
    for key, fate in KEY_FATES.items():
        assert (fate.because in (ANSWERS, SAFETY)) == (fate.effect == "refused"), key


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("draft_model: ../../x", "draft_model"),
        ("draft_model: /etc/passwd", "draft_model"),
        ("lora_adapter: a/../../x", "lora_adapter"),
        ("lora_adapters: [ok.gguf, ../x]", "lora_adapters[1]"),
        ("lora_adapters: ../x", "lora_adapters[0]"),
        ("mmproj: /etc/passwd", "mmproj"),
        ("parameters: {model: ../x}", "parameters.model"),
        ("parameters: {draft_model: ../x}", "parameters.draft_model"),
        ("model: /x", "model"),
        ("download_files: [{filename: a}, {filename: ../x}]", "download_files[1].filename"),
        ('mmproj: "a\\0b"', "mmproj"),
    ],
)
def test_no_key_leads_out_of_the_models_folder(refusal, text, key):
    assert f"`{key}` leads out of the models folder" in refusal(text)


def test_paths_downwards_and_names_with_dots_are_fine(load):
    assert load("draft_model: a/..b/c...gguf").draft_model == "a/..b/c...gguf"


def test_file_and_key_reach_the_error_as_data(tmp_path):
    with pytest.raises(ConfigError) as caught:
        model_reader.load(Document(Path("models/a.yaml"), {"context_size": "4"}))
    assert caught.value.info.param == "context_size"
    assert str(caught.value).startswith("models/a.yaml: ")


def test_config_cannot_be_written_to(load):
    with pytest.raises(AttributeError):
        load("name: x").name = "y"
    assert isinstance(load("name: x"), msgspec.Struct)


def test_words_may_be_booleans_where_yaml_makes_them_so(load):
    assert load("flash_attention: true").flash_attention == "true"
    assert load("flash_attention: on").flash_attention == "on"
    assert load("numa: false").numa == "false"


def test_engine_settings_among_the_parameters_are_taken_from_there(load):
    config = load("parameters: {batch: 7, n_keep: 3, rope_freq_base: 10000, rope_freq_scale: 0.5, model: m}")
    assert (config.batch, config.n_keep, config.rope_freq_base, config.rope_freq_scale) == (7, 3, 10000.0, 0.5)


def test_all_faults_and_warnings_of_a_model_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\n"
        "contxt_size: 5\n"
        "context_size: -5\n"
        "parameters: {model: ../../x.gguf, temperature: hot}\n"
        "function: {json_regex_match: ['(']}\n"
        "pii: {enabled: true}\n"
    )
    registry = Registry(Settings(models_path=tmp_path))
    found = [(each.line, each.is_fault, each.key) for each in registry.findings()]
    assert sorted(found) == [
        (2, False, "contxt_size"),
        (3, True, "context_size"),
        (4, True, "parameters.model"),
        (4, True, "parameters.temperature"),
        (5, True, "function.json_regex_match[0]"),
        (6, True, "pii"),
    ]
    assert "line 4: `parameters.model` leads out" in str(registry.problems()["bad"])
