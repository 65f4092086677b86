"""What openvino-genai's own pipelines answer, with the models as they were exported."""

from __future__ import annotations

from pathlib import Path

import openvino_genai

from tests.contract.own_answers import Answer

PROPERTIES = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}


def write(path: str, prompts: list[str], max_tokens: int) -> list[Answer]:
    pipeline = openvino_genai.LLMPipeline(_exported(path), "CPU", **PROPERTIES)
    tokenizer = pipeline.get_tokenizer()
    wanted = openvino_genai.GenerationConfig(max_new_tokens=max_tokens, apply_chat_template=False)
    return [_answer(pipeline, tokenizer, prompt, wanted) for prompt in prompts]


def _answer(
    pipeline: openvino_genai.LLMPipeline,
    tokenizer: openvino_genai.Tokenizer,
    prompt: str,
    wanted: openvino_genai.GenerationConfig,
) -> Answer:
    read = tokenizer.encode(prompt, add_special_tokens=False)
    tokens = list(pipeline.generate(read, wanted).tokens[0])
    return {
        "prompt_tokens": read.input_ids.data[0].tolist(),
        "tokens": tokens,
        "pieces": [tokenizer.decode([token]) for token in tokens],
        "text": tokenizer.decode(tokens),
        "leads": [],
    }


def embed(path: str, texts: list[str]) -> list[list[float]]:
    config = openvino_genai.TextEmbeddingPipeline.Config()
    config.pooling_type = openvino_genai.TextEmbeddingPipeline.PoolingType.MEAN
    config.normalize = True
    pipeline = openvino_genai.TextEmbeddingPipeline(_exported(path), "CPU", config, **PROPERTIES)
    return [list(pipeline.embed_query(text)) for text in texts]


def _exported(path: str) -> Path:
    """Return where the server has put a folder's export, of which there is one."""
    (found,) = Path(path).glob(".openvino/*/openvino_model.xml")
    return found.parent
