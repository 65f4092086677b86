"""What transformers answers with weights that bitsandbytes has quantised."""

from __future__ import annotations

import torch
import transformers

from tests.contract.own_answers import Answer
from tests.contract.own_answers import transformers as plain

embed, score = plain.embed, plain.score


def write(path: str, prompts: list[str], max_tokens: int) -> list[Answer]:
    settings = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    return plain.write(
        path, prompts, max_tokens, quantization_config=settings, device_map={"": "cpu"}, dtype=torch.float32
    )
