"""What vLLM itself answers."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")

from vllm import LLM, SamplingParams

from tests.contract.own_answers import Answer

SIZE = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 256 << 20, "max_num_seqs": 8}


def write(path: str, prompts: list[str], max_tokens: int, **loading: Any) -> list[Answer]:
    model = LLM(path, max_model_len=2048, max_num_batched_tokens=512, **(SIZE | loading))
    wanted = SamplingParams(temperature=0.0, max_tokens=max_tokens, logprobs=2)
    return [_answer(model.generate([prompt], wanted, use_tqdm=False)[0]) for prompt in prompts]


def see(path: str, asked: list[dict[str, Any]], max_tokens: int) -> list[Answer]:
    model = LLM(path, max_model_len=2048, max_num_batched_tokens=512, **SIZE)
    wanted = SamplingParams(temperature=0.0, max_tokens=max_tokens, logprobs=2)
    answers = []
    for each in asked:
        urls = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}} for data in each["images"]]
        messages: Any = [{"role": "user", "content": [*urls, {"type": "text", "text": each["text"]}]}]
        answers.append(_answer(model.chat(messages, wanted, use_tqdm=False)[0]))
    return answers


def _answer(made: Any) -> Answer:
    (completion,) = made.outputs
    best = [sorted((each.logprob for each in found.values()), reverse=True)[:2] for found in completion.logprobs]
    return {
        "prompt_tokens": list(made.prompt_token_ids),
        "tokens": list(completion.token_ids),
        "pieces": [
            found[token].decoded_token for token, found in zip(completion.token_ids, completion.logprobs, strict=True)
        ],
        "text": completion.text,
        "leads": [first - second for first, second in best],
    }


def embed(path: str, texts: list[str]) -> list[list[float]]:
    model = LLM(path, runner="pooling", **SIZE)
    return [list(made.outputs.embedding) for made in model.embed(texts, use_tqdm=False)]


def score(path: str, query: str, documents: list[str]) -> list[float]:
    from vllm import PoolingParams

    model = LLM(path, runner="pooling", **SIZE)
    made = model.score(
        query, documents, pooling_params=PoolingParams(task="classify", use_activation=False), use_tqdm=False
    )
    return [float(each.outputs.score) for each in made]
