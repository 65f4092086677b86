"""Maker of tiny random causal language models in Hugging Face's folder format; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog looks on.",
    "Une journée d'été à la plage: où êtes-vous passés?",
    "A long time ago in a galaxy far, far away, there was a small model.",
    "Numbers such as 1, 22 and 333 stand between (brackets) and «quotes».",
]
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL_TOKENS = ["<s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>"]
SPECIAL_IDS = range(len(SPECIAL_TOKENS))
END_TOKENS = (2, 3)
"""The ids of the last two, both of which end a text."""
CONTEXT = 256


def make_tokenizer(add_bos: bool = False) -> transformers.PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer of about 400 tokens; every byte is a token, so characters may be split."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    if add_bos:
        backend.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="<|im_end|>", chat_template=CHAT_TEMPLATE
    )


def make_model(folder: Path, seed: int = 0, **config: Any) -> Path:
    """Write a Llama of two layers with random weights, its tokenizer and its chat template; return the folder.

    The weights are drawn wider than usual, so that greedy text does not repeat one token for ever.
    """
    transformers.utils.logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    shape: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": CONTEXT,
        "initializer_range": 0.3,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": list(END_TOKENS),
        "dtype": "float32",
    }
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**(shape | config)))
    model.save_pretrained(folder)
    return folder
