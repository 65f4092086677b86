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


RECURRENT: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 8},
    "recurrent_gemma": {
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "intermediate_size": 96,
        "lru_width": 32,
        "attention_window_size": 64,
        "num_hidden_layers": 3,
    },
    "jamba": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "num_experts": 2,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "use_mamba_kernels": False,
        "mamba_d_state": 8,
    },
    "bamba": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "attn_layer_indices": [1],
        "mamba_n_heads": 8,
        "mamba_d_head": 8,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
    },
    "lfm2": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "layer_types": ["conv", "full_attention"],
    },
    "bloom": {"n_head": 4, "n_layer": 2},
}
"""Shapes of models that the library cannot batch, by its names of architectures."""
PAIRED: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0},
}
"""The same for an encoder with a decoder."""


def make_other(folder: Path, kind: str, seed: int = 0, **shape: Any) -> Path:
    """Write a model of one of the architectures above, with random weights and our tokenizer; return the folder."""
    tokenizer = make_tokenizer()
    tokenizer.save_pretrained(folder)
    common = {"hidden_size": 32, "num_hidden_layers": 2} if kind in RECURRENT else {}
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        bos_token_id=0,
        eos_token_id=END_TOKENS[0],
        pad_token_id=None,
        **(common | (RECURRENT | PAIRED)[kind] | shape),
    )
    torch.manual_seed(seed)
    maker = transformers.AutoModelForCausalLM if kind in RECURRENT else transformers.AutoModelForSeq2SeqLM
    model = maker.from_config(config)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.3)
    model.save_pretrained(folder)
    return folder
