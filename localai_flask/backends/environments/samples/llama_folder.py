"""Makes a Llama of two layers with random weights, in Hugging Face's folder format."""

from __future__ import annotations

import sys
from pathlib import Path

from localai_flask.backends.environments.samples import describe

TEXT = "The quick brown fox jumps over the lazy dog, and the dog looks on."
SPECIAL_TOKENS = ["<s>", "</s>"]


def make_model(folder: Path) -> None:
    """Write the model and its tokenizer; heads are 32 wide, as narrower ones are too narrow for some engines."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=SPECIAL_TOKENS, initial_alphabet=alphabet, show_progress=False
    )
    words.train_from_iterator([TEXT], trainer)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        dtype="float32",
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder)


if __name__ == "__main__":
    make_model(Path(sys.argv[1]) / "llama")
    describe(Path(sys.argv[1]), parameters={"model": "llama"}, context_size=128)
