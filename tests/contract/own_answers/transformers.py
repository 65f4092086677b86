"""What transformers itself answers."""

from __future__ import annotations

import base64
import io
from typing import Any

import PIL.Image
import torch
import transformers

from tests.contract.own_answers import Answer


def write(path: str, prompts: list[str], max_tokens: int, **loading: Any) -> list[Answer]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(path, **loading).eval()
    return [_answer(tokenizer, model, prompt, max_tokens) for prompt in prompts]


def see(path: str, asked: list[dict[str, Any]], max_tokens: int) -> list[Answer]:
    processor = transformers.AutoProcessor.from_pretrained(path)
    model = transformers.AutoModelForImageTextToText.from_pretrained(path).eval()
    answers = []
    for each in asked:
        images = [PIL.Image.open(io.BytesIO(base64.b64decode(data))) for data in each["images"]]
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": each["text"]}]
        messages = [{"role": "user", "content": content}]
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        read = processor(text=[text], images=images, return_tensors="pt", add_special_tokens=False)
        answers.append(_generated(processor.tokenizer, model, read, max_tokens))
    return answers


def _answer(tokenizer: Any, model: Any, prompt: str, max_tokens: int) -> Answer:
    read = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    return _generated(tokenizer, model, read, max_tokens)


def _generated(tokenizer: Any, model: Any, read: Any, max_tokens: int) -> Answer:
    with torch.inference_mode():
        made = model.generate(
            **read,
            do_sample=False,
            max_new_tokens=max_tokens,
            output_logits=True,
            return_dict_in_generate=True,
        )
    tokens = made.sequences[0][read["input_ids"].shape[1] :].tolist()
    best = [logits[0].float().topk(2).values for logits in made.logits]
    return {
        "prompt_tokens": read["input_ids"][0].tolist(),
        "tokens": tokens,
        "pieces": [tokenizer.decode([token]) for token in tokens],
        "text": tokenizer.decode(tokens, clean_up_tokenization_spaces=False),
        "leads": [float(first - second) for first, second in best],
    }


def embed(path: str, texts: list[str]) -> list[list[float]]:
    """Masked means, computed one by one so that no padding takes part."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModel.from_pretrained(path).eval()
    return [_vector(tokenizer, model, text) for text in texts]


def _vector(tokenizer: Any, model: Any, text: str) -> list[float]:
    read = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        states = model(**read).last_hidden_state
    mask = read["attention_mask"].unsqueeze(-1)
    mean = (states * mask).sum(1) / mask.sum(1)
    vector: list[float] = torch.nn.functional.normalize(mean)[0].tolist()
    return vector


def score(path: str, query: str, documents: list[str]) -> list[float]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    scores = []
    for document in documents:
        read = tokenizer(query, document, return_tensors="pt")
        with torch.inference_mode():
            scores.append(float(model(**read).logits[0, 0]))
    return scores
