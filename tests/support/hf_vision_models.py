"""Makers of tiny random models that see, in Hugging Face's folder format; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import transformers

from tests.support import hf_models

TEXT: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "bos_token_id": 0,
    "eos_token_id": list(hf_models.END_TOKENS),
}
ENCODER: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
THREE_DIMENSIONS = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
PARTS = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}MARK{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A chat template that reads content as parts only, as those of many models that see do."""
STRENGTH = 3.0
"""By how much an image's vectors outweigh those of text, so that another image makes another text."""


def make_llava(folder: Path, seed: int = 0, **text: Any) -> Path:
    """Write a LLaVA, which the library batches: 4 tokens for each image of any size."""
    tokenizer = _tokenizer("<image>")
    config = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14, **ENCODER},
        text_config={"model_type": "llama", "vocab_size": len(tokenizer), **TEXT, **text},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    model = _randomized(transformers.LlavaForConditionalGeneration(config), seed)
    with torch.no_grad():
        model.model.multi_modal_projector.linear_2.weight *= STRENGTH
    size = {"height": 28, "width": 28}
    resizer = transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=size)
    processor = transformers.LlavaProcessor(
        resizer,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=PARTS.replace("MARK", "<image>\n"),
    )
    model.save_pretrained(folder)
    _name_as_published(folder)
    processor.save_pretrained(folder)
    return folder


def _name_as_published(folder: Path) -> None:
    """Call the weights of a CLIP by the names that published models have, which vLLM reads alone."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    named = {key.replace("vision_tower.", "vision_tower.vision_model."): value for key, value in weights.items()}
    safetensors.torch.save_file(named, folder / "model.safetensors", {"format": "pt"})


def make_qwen2_vl(folder: Path, seed: int = 0) -> Path:
    """Write a Qwen2-VL, whose positions have three dimensions: a token for each 28 x 28 pixels, 4 to 16 of them."""
    tokenizer = _tokenizer("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
    id_of = tokenizer.convert_tokens_to_ids
    config = transformers.Qwen2VLConfig(
        vision_config={"embed_dim": 32, "hidden_size": 128, "depth": 2, "num_heads": 2, "mlp_ratio": 2},
        text_config={"vocab_size": len(tokenizer), "rope_parameters": THREE_DIMENSIONS, **TEXT},
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
    )
    _randomized(transformers.Qwen2VLForConditionalGeneration(config), seed).save_pretrained(folder)
    return _with_processor_of_qwen(folder, tokenizer)


def make_qwen3_vl(folder: Path, seed: int = 0) -> Path:
    """Write a Qwen3-VL, whose images also reach deeper layers; for the rest like a Qwen2-VL."""
    tokenizer = _tokenizer("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")
    id_of = tokenizer.convert_tokens_to_ids
    depth = {"depth": 3, "deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64, "out_hidden_size": 128}
    config = transformers.Qwen3VLConfig(
        vision_config={"hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "patch_size": 14, **depth},
        text_config={"vocab_size": len(tokenizer), "head_dim": 32, "rope_parameters": THREE_DIMENSIONS, **TEXT},
        image_token_id=id_of("<|image_pad|>"),
        video_token_id=id_of("<|video_pad|>"),
        vision_start_token_id=id_of("<|vision_start|>"),
        vision_end_token_id=id_of("<|vision_end|>"),
    )
    _randomized(transformers.Qwen3VLForConditionalGeneration(config), seed).save_pretrained(folder)
    return _with_processor_of_qwen(folder, tokenizer)


def _with_processor_of_qwen(folder: Path, tokenizer: Any) -> Path:
    tokenizer.chat_template = PARTS.replace("MARK", "<|vision_start|><|image_pad|><|vision_end|>")
    resizer = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}
    )
    for part in (tokenizer, resizer):
        part.save_pretrained(folder)
    return folder


def make_gemma3(folder: Path, seed: int = 0) -> Path:
    """Write a Gemma 3, in whose images each token sees all others: 4 tokens for each image of any size."""
    marks = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = _tokenizer(*marks.values(), **marks)
    id_of = tokenizer.convert_tokens_to_ids
    config = transformers.Gemma3Config(
        vision_config={"model_type": "siglip_vision_model", "image_size": 56, "patch_size": 14, **ENCODER},
        text_config={"vocab_size": len(tokenizer), "head_dim": 32, "sliding_window": 64, **TEXT},
        mm_tokens_per_image=4,
        image_token_index=id_of("<image_soft_token>"),
        boi_token_index=id_of("<start_of_image>"),
        eoi_token_index=id_of("<end_of_image>"),
    )
    resizer = transformers.models.gemma3.image_processing_pil_gemma3.Gemma3ImageProcessorPil(
        size={"height": 56, "width": 56}
    )
    processor = transformers.Gemma3Processor(
        resizer, tokenizer, image_seq_length=4, chat_template=PARTS.replace("MARK", "<start_of_image>")
    )
    _randomized(transformers.Gemma3ForConditionalGeneration(config), seed).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _tokenizer(*marks: str, **named: str) -> transformers.PreTrainedTokenizerFast:
    backend = hf_models.make_tokenizer().backend_tokenizer
    backend.add_special_tokens([*marks])
    names = {"bos_token": "<s>", "eos_token": "<|im_end|>", "extra_special_tokens": named}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def _randomized(model: Any, seed: int) -> Any:
    """Draw the weights wider than usual, so that texts are not all the same."""
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.2)
    return model
