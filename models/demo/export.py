#!/usr/bin/env python3
"""Write a checkpoint of train.py as a GGUF file that llama.cpp loads.

python models/demo/export.py CHECKPOINT [OUT.gguf]
"""

import json
import sys
from pathlib import Path

import gguf
import torch
from model import Shape
from tokenizers import Tokenizer

HERE = Path(__file__).parent
MODEL = HERE.parent / "demo.gguf"
CONTEXT = 2048
MATRICES = {
    "attn.q": "attn_q",
    "attn.k": "attn_k",
    "attn.v": "attn_v",
    "attn.output": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
END_OF_TEXT, END_OF_TURN = "<|endoftext|>", "<|im_end|>"


def add_header(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """Describe the shape."""
    writer.add_name("demo")
    writer.add_description("A toy to try localai-flask with, trained on synthetic text.")
    writer.add_vocab_size(shape.vocabulary)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)


def add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    """Copy the tokenizer; llama.cpp's "gpt-2" splits text as `ByteLevel` does."""
    added = tokenizer.get_added_tokens_decoder()
    types = [gguf.TokenType.NORMAL] * tokenizer.get_vocab_size()
    for id_, token in added.items():
        types[id_] = gguf.TokenType.CONTROL if token.special else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())])
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]])
    writer.add_bos_token_id(tokenizer.token_to_id(END_OF_TEXT))
    writer.add_eos_token_id(tokenizer.token_to_id(END_OF_TURN))
    writer.add_eot_token_id(tokenizer.token_to_id(END_OF_TURN))
    writer.add_pad_token_id(tokenizer.token_to_id(END_OF_TEXT))
    writer.add_add_bos_token(True)
    writer.add_chat_template((HERE / "chat_template.jinja").read_text())


def add_matrix(writer: gguf.GGUFWriter, name: str, weight: torch.Tensor) -> None:
    """Add a matrix in blocks of eight-bit numbers."""
    kind = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor(name, gguf.quantize(weight.float().numpy(), kind), raw_dtype=kind)


def add_weights(writer: gguf.GGUFWriter, shape: Shape, weights: dict) -> None:
    """Add every tensor under the name that llama.cpp gives it; without an output matrix it takes the embedding."""
    add_matrix(writer, "token_embd.weight", weights["embedding.weight"])
    writer.add_tensor("output_norm.weight", weights["norm.weight"].float().numpy())
    for i in range(shape.layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", weights[f"blocks.{i}.{norm}.weight"].float().numpy())
        for ours, theirs in MATRICES.items():
            add_matrix(writer, f"blk.{i}.{theirs}.weight", weights[f"blocks.{i}.{ours}.weight"])


def write(checkpoint: Path, out: Path) -> None:
    """Write the GGUF file, whole or not at all."""
    saved = torch.load(checkpoint, weights_only=False)
    partial = out.with_suffix(".partial")
    writer = gguf.GGUFWriter(partial, "llama")
    add_header(writer, saved["shape"])
    add_vocabulary(writer, Tokenizer.from_str(saved["tokenizer"]))
    add_weights(writer, saved["shape"], saved["weights"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(out)
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else MODEL)
