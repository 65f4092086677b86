"""Model YAML to `ModelConfig`: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import pytest

from localai_flask.config import model, schema, yamlfile
from localai_flask.config.elsewhere import KNOWN_ELSEWHERE
from localai_flask.config.model import DownloadFile, ModelConfig
from localai_flask.errors import ConfigError


@pytest.fixture
def load(tmp_path):
    def load(text: str) -> ModelConfig:
        file = tmp_path / "tiny.yaml"
        file.write_text(text, encoding="utf-8")
        (raw,) = yamlfile.read(file)
        return schema.load(raw, file)

    return load


@pytest.fixture
def refusal(load):
    def refusal(text: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(text)
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
    assert schema.load({"name": "x", "novelty": [1, 2.0]}, tmp_path / "x.yaml").novelty == (1, 2)


def test_null_means_unset_at_every_level(load):
    assert load(
        "parameters: {model: a, top_p: ~}\ntemplate:\nstopwords: null\ngrammar:\nlimits: {max_concurrent: }"
    ) == (ModelConfig(name="tiny", parameters=model.Parameters(model="a")))


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
    assert load("parameters: {model: a, batch: 64}\nbatch: 32").batch == 32


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("contxt_size: 3", "`contxt_size` is unknown; perhaps `context_size` is meant"),
        ("parameters: {temprature: 1}", "`parameters.temprature` is unknown; perhaps `temperature` is meant"),
        ("grammer: x", "perhaps `grammar` is meant"),
        ("limits: {max_concurent: 3}", "perhaps `max_concurrent` is meant"),
        ("download_files: [{filename: a, sha: b}]", "`download_files[0].sha` is unknown"),
        ("temperature: 1", "it belongs under `parameters:`"),
        ("parameters: {context_size: 3}", "belongs to the top level, outside of `parameters:`"),
        ("qqqqq: 1", "`qqqqq` is unknown; remove it"),
        ("models_path: /", "`models_path` is unknown"),
        ("7: 1", "`7` is unknown"),
        ("threads: '4'", "`threads` must be a whole number, not '4'"),
        ("threads: true", "`threads` must be a whole number, not True"),
        ("threads: .inf", "`threads` must be a whole number, not inf"),
        ("threads: -1", "`threads` must be at least 0, not -1"),
        ("replicas: 0", "`replicas` must be at least 1"),
        ("parameters: {top_p: 1.5}", "`parameters.top_p` must be between 0 and 1, not 1.5"),
        ("parameters: {repeat_penalty: 0}", "`parameters.repeat_penalty` must be more than 0"),
        ("parameters: {temperature: .nan}", "`parameters.temperature` must be a number"),
        ("parameters: {temperature: hot}", "`parameters.temperature` must be a number, not 'hot'"),
        ("parameters: {logit_bias: {-5: 1}}", "`parameters.logit_bias.-5` must match"),
        ("mirostat: 3", "`parameters.mirostat` must be between 0 and 2"),
        ("parameters: {logit_bias: {5: 101}}", "`parameters.logit_bias.5` must be between -100 and 100"),
        ("parameters: {seed: 99999999999999999999}", "`parameters.seed` must fit into 64 bits"),
        ("chat_template_kwargs: {a: 99999999999999999999}", "does not fit into 64 bits"),
        ("chat_template_kwargs: {a: {1: x}}", "put numbers that are keys in quotes"),
        ("parameters: tiny.gguf", "`parameters` must hold keys with values"),
        ("mmap: 1", "`mmap` must be true or false, not 1"),
        ("mmap: 'true'", "`mmap` must be true or false, not 'true'"),
        ("stopwords: [a, 1.5]", "`stopwords[1]` must be text, not 1.5; put it in quotes"),
        ("stopwords: {a: b}", "`stopwords` must be a list"),
        ("options: [{parallel: 4}]", "`options[0]` must be text"),
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
    assert yamlfile.read(tmp_path / "tiny.yaml")[0]["b"] == {"x": 1, "y": 2}


def test_keys_without_effect_are_said_in_one_line(load, caplog):
    with caplog.at_level(logging.INFO):
        config = load(
            "usage: hello\ntts: {voice: a}\nparameters: {model: a}\n"
            "function: {grammar: {disable_parallel_new_lines: true}}\n"
        )
    assert config == ModelConfig(name="tiny", parameters=model.Parameters(model="a"))
    (line,) = caplog.messages
    assert all(key in line for key in ("`usage`", "`tts.voice`", "`function.grammar.disable_parallel_new_lines`"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mmproj: x.gguf", "`mmproj` is not supported"),
        ("function: {automatic_tool_parsing_fallback: true}", "`function.automatic_tool_parsing_fallback`"),
        ("function: {xml_format: {tool_start: a}}", "`function.xml_format.tool_start` is not supported"),
        ("function: {xml_format_preset: cobol}", "`function.xml_format_preset` must match"),
        ("engine_args: {a: {b: 1}}", "`engine_args.a.b` is not supported"),
        ("trust_remote_code: true", "`trust_remote_code` is not supported"),
        ("reasoning: {disable: maybe}", "`reasoning.disable` must be"),
        ("reasoning: {tag_pairs: [{start: a, end: ''}]}", "`reasoning.tag_pairs[0].end` must match"),
        ("parameters: {stop: [a]}", "list the strings in `stopwords`"),
        ("max_model_len: 3", "use `context_size`"),
        ("pii: {enabled: true}", "personal data"),
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
    ],
)
def test_a_refused_key_that_asks_for_nothing_is_harmless(load, text):
    assert load(text) == ModelConfig(name="tiny")


def test_no_key_is_both_read_and_known_elsewhere():
    ours = {*ModelConfig.__struct_fields__}
    ours |= {f"parameters.{name}" for name in model.Parameters.__struct_fields__}
    ours |= {f"template.{name}" for name in model.Template.__struct_fields__}
    assert not ours & set(KNOWN_ELSEWHERE)


def test_file_and_key_reach_the_error_as_data(tmp_path):
    with pytest.raises(ConfigError) as caught:
        schema.load({"threads": "4"}, Path("models/a.yaml"))
    assert caught.value.info.param == "threads"
    assert str(caught.value).startswith("models/a.yaml: ")


def test_config_cannot_be_written_to(load):
    with pytest.raises(AttributeError):
        load("name: x").name = "y"
    assert isinstance(load("name: x"), msgspec.Struct)


def test_words_may_be_booleans_where_yaml_makes_them_so(load, refusal):
    assert load("flash_attention: true").flash_attention == "true"
    assert load("flash_attention: on").flash_attention == "on"
    assert load("numa: false").numa == "false"
    assert "`flash_attention` must match" in refusal("flash_attention: sometimes")


def test_engine_settings_among_the_parameters_are_taken_from_there(load):
    config = load("parameters: {batch: 7, n_keep: 3, rope_freq_base: 10000, rope_freq_scale: 0.5, model: m}")
    assert (config.batch, config.n_keep, config.rope_freq_base, config.rope_freq_scale) == (7, 3, 10000.0, 0.5)
    assert load("{n_keep: 4, parameters: {n_keep: 3}}").n_keep == 4
