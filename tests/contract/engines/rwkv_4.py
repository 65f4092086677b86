"""RWKV 4 by the rwkv package, which is another library then, with a tokenizer.json."""

from pathlib import Path

from tests.contract.engine import Engine, Yaml
from tests.contract.tiny_models import is_printable
from tests.support import rwkv_models


def write_pile(folder: Path) -> Yaml:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    characters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": 0} | {character: at for at, character in enumerate(characters, 1)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(folder / "writer.pth.tokenizer.json"))
    hidden = [0, *(at for character, at in vocabulary.items() if not is_printable(character))]
    rwkv_models.write_checkpoint(folder / "writer.pth", 4, len(vocabulary), hidden=tuple(hidden))
    return {"parameters": {"model": "writer.pth"}, "threads": 1}


ENGINE = Engine(
    name="rwkv-4",
    backend="rwkv",
    environment="rwkv",
    own_answers="rwkv",
    writer=write_pile,
    chat_prompt="User: {}\n\nAssistant:",
    end_text="<|endoftext|>",
    tie=1e-4,
)
