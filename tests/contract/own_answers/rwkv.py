"""What the rwkv package's own pipeline answers, its loop written out to see the logits."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.contract.own_answers import Answer

PIECE = 256


def write(path: str, prompts: list[str], max_tokens: int, **_: Any) -> list[Answer]:
    is_world = Path(path).with_suffix(".vocab.txt").exists()
    os.environ |= {"RWKV_V7_ON": "1" if is_world else "0", "RWKV_JIT_ON": "1", "RWKV_CUDA_ON": "0"}
    from rwkv.model import RWKV
    from rwkv.rwkv_tokenizer import TRIE_TOKENIZER
    from rwkv.utils import PIPELINE

    model = RWKV(path.removesuffix(".pth"), "cpu fp32")
    pipeline = PIPELINE(model, "rwkv_vocab_v20230424" if is_world else f"{path}.tokenizer.json")
    if is_world:
        pipeline.tokenizer = TRIE_TOKENIZER(str(Path(path).with_suffix(".vocab.txt")))
    return [_answer(model, pipeline, prompt, max_tokens) for prompt in prompts]


def _answer(model: Any, pipeline: Any, prompt: str, max_tokens: int) -> Answer:
    read = pipeline.encode(prompt)
    waiting, state = list(read), None
    tokens: list[int] = []
    leads: list[float] = []
    for _ in range(max_tokens):
        while waiting:
            logits, state = model.forward(waiting[:PIECE], state)
            waiting = waiting[PIECE:]
        first, second = logits.float().topk(2).values.tolist()
        leads.append(first - second)
        tokens.append(int(logits.argmax()))
        waiting = tokens[-1:]
    return {
        "prompt_tokens": list(read),
        "tokens": tokens,
        "pieces": [pipeline.decode([token]) for token in tokens],
        "text": pipeline.decode(tokens),
        "leads": leads,
    }
