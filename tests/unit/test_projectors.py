"""Which file is a model's projector, by the names beside it."""

from __future__ import annotations

import pytest

from localai_flask.config.folder.projectors import find_projector


@pytest.mark.parametrize(
    ("model", "beside", "found"),
    [
        ("gemma-3-4b-it-Q4_K_M.gguf", ["mmproj-gemma-3-4b-it-f16.gguf", "qwen.gguf"], "mmproj-gemma-3-4b-it-f16.gguf"),
        ("Qwen2-VL-2B-Instruct.Q8_0.gguf", ["qwen2-vl-2b-instruct-mmproj-bf16.gguf", "other.gguf"],
         "qwen2-vl-2b-instruct-mmproj-bf16.gguf"),
        ("see/a-Q4_0.gguf", ["see/mmproj-F32.gguf", "see/mmproj-F16.gguf"], "see/mmproj-F16.gguf"),
        ("see/a-Q4_0.gguf", ["see/a-Q8_0.gguf", "see/mmproj-model-f16.gguf"], "see/mmproj-model-f16.gguf"),
        ("see/a-00001-of-00002.gguf", ["see/a-00002-of-00002.gguf", "see/mmproj.gguf"], "see/mmproj.gguf"),
        ("llava-v1.5-7b.Q4_K.gguf", ["llava-v1.5-7b-mmproj-Q4_0.gguf", "llava-v1.5-13b-mmproj-f16.gguf", "x.gguf"],
         "llava-v1.5-7b-mmproj-Q4_0.gguf"),
        ("alone.gguf", ["mmproj-renamed.gguf"], "mmproj-renamed.gguf"),
        ("a.gguf", ["b.gguf", "mmproj-f16.gguf"], ""),
        ("gemma-3-1b-it.gguf", ["gemma-3-4b-it.gguf", "mmproj-gemma-3-4b-it-f16.gguf"], ""),
        ("a.gguf", ["below/mmproj.gguf"], ""),
        ("below/a.gguf", ["mmproj.gguf"], ""),
        ("a.gguf", [], ""),
    ],
)  # fmt: skip
def test_a_projector_is_found_if_it_is_surely_the_models(model: str, beside: list[str], found: str) -> None:
    assert find_projector(model, [model, *beside]) == found
