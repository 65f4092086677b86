"""Models for the contract tests, in GGUF and in Hugging Face's folders, with random weights.

The writers' greedy text is printable ASCII without an end: all other tokens have a logit of 0, which is never the
largest. So texts are the same however an engine decodes them, and an answer is as long as was asked.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.contract.engine import CONTEXT, Yaml
from tests.support import gguf_encoders, gguf_models

TOOL_TEMPLATE = (
    "{% for tool in tools or [] %}<tool_call>{{ tool | tojson }}</tool_call>\n{% endfor %}" + gguf_models.CHAT_TEMPLATE
)
"""Shows tools, in the syntax of Hermes, so that tools can be called."""


def gguf_writer(folder: Path) -> Yaml:
    gguf_models.random_llama(folder / "writer.gguf", seed=1, printable=True, tool_template=TOOL_TEMPLATE)
    return {"parameters": {"model": "writer.gguf"}, "context_size": 4 * CONTEXT}


def gguf_embedder(folder: Path) -> Yaml:
    gguf_encoders.random_bert(folder / "embedder.gguf")
    return {"parameters": {"model": "embedder.gguf"}, "embeddings": True, "flash_attention": "off"}


def gguf_ranker(folder: Path) -> Yaml:
    gguf_encoders.random_bert(folder / "ranker.gguf", pooling=4, classes=1)
    return {"parameters": {"model": "ranker.gguf"}, "reranking": True, "flash_attention": "off"}


def hf_writer(folder: Path, **shape: Any) -> Yaml:
    """Write a Llama whose heads are 32 wide, as vLLM's attention on a CPU wants them."""
    from tests.support import hf_models

    hf_models.make_model(
        folder / "writer",
        seed=1,
        hidden_size=128,
        intermediate_size=256,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        **shape,
    )
    return _made_printable(folder / "writer")


def hf_adapted(folder: Path) -> Yaml:
    """Write the same Llama, beside two adapters and the weights that these make of its."""
    from tests.support import hf_adapters

    keys = hf_writer(folder)
    for seed, name in enumerate("ab", 1):
        hf_adapters.make_adapter(folder / "writer", folder / name, seed)
        hf_adapters.merge(folder / "writer", folder / name, folder / f"merged-{name}")
    return keys


def hf_recurrent_writer(folder: Path) -> Yaml:
    """Write a Mamba, which no engine's paged batches can hold."""
    from tests.support import hf_models

    hf_models.make_other(folder / "writer", "mamba", seed=1, tie_word_embeddings=False)
    return _made_printable(folder / "writer") | {"context_size": CONTEXT}


def hf_seer(folder: Path) -> Yaml:
    """Write a LLaVA, whose images have 4 tokens each."""
    from tests.support import hf_vision_models

    hf_vision_models.make_llava(folder / "seer", max_position_embeddings=CONTEXT)
    return _made_printable(folder / "seer", sees=True)


def gguf_seer(folder: Path) -> Yaml:
    """Write a Llama with a projector beside it."""
    from tests.support import gguf_projectors

    gguf_projectors.seeing_model(folder, "idefics3")
    return {"parameters": {"model": "tiny.gguf"}, "mmproj": f"{folder.name}/mmproj-tiny.gguf"}


def _made_printable(path: Path, *, sees: bool = False) -> Yaml:
    import torch
    import transformers

    from tests.support import hf_models

    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    if not sees:
        tokenizer.chat_template = TOOL_TEMPLATE
        tokenizer.save_pretrained(path)
    auto = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    model = auto.from_pretrained(path)
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer))]
    special = {*hf_models.SPECIAL_IDS, *tokenizer.added_tokens_decoder}
    hidden = [not is_printable(text) or token in special for token, text in enumerate(texts)]
    with torch.no_grad():
        model.lm_head.weight[torch.tensor(hidden)] = 0
    model.save_pretrained(path)
    return {"parameters": {"model": path.name}}


def hf_embedder(folder: Path) -> Yaml:
    import transformers

    from tests.support import hf_models

    hf_models.make_tokenizer().save_pretrained(folder / "embedder")
    _encoder(transformers.BertModel, folder / "embedder")
    return {"parameters": {"model": "embedder"}, "embeddings": True}


def hf_ranker(folder: Path) -> Yaml:
    """Write a BERT that scores pairs, with a tokenizer that puts them together."""
    import transformers
    from tokenizers import processors

    from tests.support import hf_models

    tokenizer = hf_models.make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A", pair="<s>:0 $A:0 <|im_end|>:0 $B:1 <|im_end|>:1", special_tokens=[("<s>", 0), ("<|im_end|>", 2)]
    )
    tokenizer.sep_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    tokenizer.save_pretrained(folder / "ranker")
    settings = json.loads((folder / "ranker" / "tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "ranker" / "tokenizer_config.json").write_text(json.dumps(settings))
    _encoder(transformers.BertForSequenceClassification, folder / "ranker", num_labels=1, initializer_range=0.3)
    return {"parameters": {"model": "ranker"}, "reranking": True}


def _encoder(kind: Any, folder: Path, **shape: Any) -> None:
    import torch
    import transformers

    from tests.support import hf_models

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(hf_models.make_tokenizer()),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
        **shape,
    )
    kind(config).eval().save_pretrained(folder)


def is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()
