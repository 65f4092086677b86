"""The GGUF header reader: the facts it finds, and the sentence for each file that is not what it should be."""

from __future__ import annotations

import os
import struct
import time
import tracemalloc
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest

from localai_flask.config.files.gguf import inspect
from localai_flask.errors import ConfigError

TINY = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.size_label": "1M",
    "general.file_type": 1,
    "llama.context_length": 2048,
    "llama.embedding_length": 32,
    "llama.block_count": 2,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": ["a", "é", ""],
    "tokenizer.ggml.scores": [0.5, 1.5, 2.5],
    "tokenizer.chat_template": "{{ messages }}",
    "general.quantized": True,
}
F16, Q8_0 = 1, 8


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(value) -> bytes:
    match value:
        case bool():
            return struct.pack("<IB", 7, value)
        case int():
            return struct.pack("<Ii", 5, value) if value < 0 else struct.pack("<II", 4, value)
        case float():
            return struct.pack("<If", 6, value)
        case str():
            return struct.pack("<I", 8) + text(value)
        case [str(), *_]:
            return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text, value))
        case _:
            return struct.pack(f"<IIQ{len(value)}f", 9, 6, len(value), *value)


def gguf(metadata=TINY, tensors=(("w", (64, 3), F16),), version=3, alignment=32) -> bytes:
    """Build a whole file; each tensor is (name, dims, type) and follows the one before it."""
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    out += b"".join(text(key) + value(item) for key, item in metadata.items())
    offset = 0
    for name, dims, kind in tensors:
        out += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
        size = dims[0] * dims[1] * 2 if kind == F16 else dims[0] * dims[1] // 32 * 34
        offset += size
    out += b"\0" * (-len(out) % alignment) if tensors else b""
    return out + b"\1" * offset


@pytest.fixture
def written(tmp_path):
    def write(content: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        inspect(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("version", [2, 3])
def test_facts(written, version):
    info = inspect(written(gguf(version=version)))
    assert (info.architecture, info.name, info.size_label, info.kind) == ("llama", "Tiny", "1M", "model")
    assert (info.context_length, info.embedding_length, info.block_count, info.vocab_size) == (2048, 32, 2, 3)
    assert info.chat_template == "{{ messages }}"
    assert info.has_tokenizer
    assert info.file_type == 1


def test_silent_header_gives_empty_facts(written):
    info = inspect(written(gguf({"general.architecture": "bert"})))
    assert (info.name, info.context_length, info.chat_template, info.has_tokenizer) == ("", 0, None, False)
    assert info.file_type is None


@pytest.mark.parametrize("alignment", [32, 64])
def test_data_end_is_where_the_last_tensor_ends(written, alignment):
    metadata = TINY | {"general.alignment": alignment}
    content = gguf(metadata, (("a", (64, 4), Q8_0), ("b", (64, 3), F16)), alignment=alignment)
    assert inspect(written(content)).data_end == len(content)


def test_each_layers_tensors_are_summed_up(written):
    names = ("token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_up.weight", "blk.2.attn_q.weight", "xblk.1.w")
    content = gguf(TINY, tuple((name, (64, 2), F16) for name in names))
    assert inspect(written(content)).layer_bytes == (512, 0, 256)
    assert inspect(written(gguf(tensors=()))).layer_bytes == ()


def test_file_without_tensors_ends_with_its_header(written):
    content = gguf(tensors=())
    assert inspect(written(content)).data_end == len(content)


def test_one_missing_byte_of_the_last_tensor_is_noticed(written):
    content = gguf()
    message = refusal(written(content[:-1]))
    assert f"{len(content) - 1} of {len(content)} bytes" in message
    assert "download it again" in message


def test_header_cut_anywhere_is_refused(written):
    header_end = len(gguf(tensors=(("w", (64, 3), F16),))) - 64 * 3 * 2
    whole = gguf()
    for end in range(1, header_end, 5):
        refusal(written(whole[:end]))
    assert "cut off inside its header, after 40 bytes" in refusal(written(whole[:40]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n  <html>", "web page"),
        (b'{"error": "Entry not found"}', "JSON"),
        (struct.pack("<Q", 80) + b'{"__metadata__":{}}', "safetensors"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"tjgg\x03\0\0\0", "before GGUF"),
        (b"\0" * 64, "unfinished download"),
        (b"Entry not found", "begins with b'Entr'"),
    ],
)
def test_other_files_are_called_by_name(written, content, said):
    assert said in refusal(written(content))


@pytest.mark.parametrize(("version", "said"), [(1, "version 1"), (4, "version 4"), (3 << 24, "big-endian")])
def test_other_versions(written, version, said):
    assert said in refusal(written(gguf(version=version)))


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<QQ", 0, 1 << 40),  # absurd count of keys
        struct.pack("<QQ", 0, 1) + struct.pack("<Q", 1 << 63),  # absurd length of a key
        struct.pack("<QQ", 0, 1) + text("k") + struct.pack("<I", 77),  # unknown type
        struct.pack("<QQ", 0, 1) + text("k") + struct.pack("<IIQ", 9, 8, 1 << 50),  # absurd array of texts
        struct.pack("<QQ", 0, 1) + text("k") + struct.pack("<IIQQ", 9, 8, 2, 2**64 - 1),  # absurd text in an array
        struct.pack("<QQ", 0, 1) + text("k") + struct.pack("<IIQ", 9, 4, 1 << 20),  # array longer than the file
        struct.pack("<QQ", 0, 1) + text("k") + struct.pack("<IIQ", 9, 9, 1),  # array of arrays
        struct.pack("<QQ", 0, 3) + b"\0" * 100,  # a hole of zeros
        struct.pack("<QQ", 1, 0) + text("t") + struct.pack("<I", 1 << 30),  # absurd dimensions
        struct.pack("<QQ", 0, 1) + text("general.alignment") + struct.pack("<II", 4, 0),
        struct.pack("<QQ", 0, 1_000_000) + b"".join(text(f"k{n}") + value(n) for n in range(10_000)),  # too many keys
        struct.pack("<QQ", 100_000, 0),  # too many tensors
        struct.pack("<QQ", 0, 1) + text("k" * 5000) + value(1),  # too long a key
        struct.pack("<QQ", 0, 1) + text("general.name") + value("n" * (2 << 20)),  # too long a name
        struct.pack("<QQ", 0, 3) + (text("k") + struct.pack("<IIQ", 9, 8, 1 << 20) + b"\0" * (8 << 20)) * 3,  # texts
    ],
)
def test_damaged_headers_are_refused_at_once(written, body):
    assert "download it again" in refusal(written(b"GGUF" + struct.pack("<I", 3) + body))


def test_a_model_without_layers_is_refused(written):
    said = refusal(written(gguf({"general.architecture": "llama", "llama.block_count": 0})))
    assert "`llama.block_count` is 0" in said


def test_missing_file_and_folder(tmp_path):
    assert "does not exist" in refusal(tmp_path / "none.gguf")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    refusal(tmp_path / "file" / "below.gguf")


def test_a_large_vocabulary_is_stepped_over_quickly(written):
    metadata = TINY | {"tokenizer.ggml.tokens": ["token"] * 150_000, "tokenizer.ggml.merges": ["a b"] * 150_000}
    path = written(gguf(metadata))
    began = time.process_time()
    assert inspect(path).vocab_size == 150_000
    assert time.process_time() - began < 1.0  # about 0.03 s; building 300k strings takes much longer


def test_a_name_of_300_megabytes_is_not_read(tmp_path):
    path = tmp_path / "model.gguf"
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + text("general.name") + struct.pack("<IQ", 8, 300 << 20))
        file.truncate(400 << 20)
    tracemalloc.start()
    message = refusal(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "header is longer than 64 MiB" in message
    assert most < 8 << 20


def test_texts_beyond_a_window_of_reading_are_found(written):
    texts = [f"token {number}" for number in range(200_000)] + ["x" * 1_500_000, "<fim_prefix>", "<fim_suffix>"]
    metadata = TINY | {"tokenizer.ggml.tokens": [*texts, "<fim_middle>"], "llama.pooling_type": 2}
    assert inspect(written(gguf(metadata))).infills
    assert inspect(written(gguf(metadata))).pooling_type == 2
    assert not inspect(written(gguf(metadata | {"tokenizer.ggml.tokens": texts}))).infills
    ids = {"tokenizer.ggml.fim_mid_token_id": 3}
    assert inspect(written(gguf(metadata | {"tokenizer.ggml.tokens": texts} | ids))).infills
    metadata |= {"tokenizer.ggml.merges": ["a " + "b" * 1_200_000] * 3}
    assert inspect(written(gguf(metadata))).data_end == len(gguf(metadata))


def test_attention_that_is_not_causal_is_told(written):
    assert inspect(written(gguf())).is_causal
    assert not inspect(written(gguf(TINY | {"llama.attention.causal": False}))).is_causal


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "pipe" in refusal(tmp_path / "pipe.gguf")


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(st.data())
def test_a_mutated_header_is_read_or_refused(tmp_path_factory, data):
    content = bytearray(gguf(TINY | {"tokenizer.ggml.merges": ["a b"] * 40}))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(4, len(content) - 9))
        odd = [0, 1, 255, 1 << 20, 1 << 31, (1 << 32) - 1, 1 << 40, 1 << 63, (1 << 64) - 1]
        content[at : at + 8] = struct.pack("<Q", data.draw(st.sampled_from(odd) | st.integers(0, (1 << 64) - 1)))
    path = tmp_path_factory.getbasetemp() / "mutated.gguf"
    path.write_bytes(content[: data.draw(st.integers(8, len(content)))])
    for with_vocabulary in (False, True):
        try:
            inspect(path, with_vocabulary=with_vocabulary)
        except ConfigError as error:
            assert len(str(error)) < 2000
