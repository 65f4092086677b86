"""What the echo engine says, whose tokens are bytes: its prompt."""

from __future__ import annotations

from tests.contract.own_answers import Answer


def write(path: str, prompts: list[str], max_tokens: int) -> list[Answer]:
    return [_answer(prompt, prompt[:max_tokens]) for prompt in prompts]


def shout(path: str, prompts: list[str], max_tokens: int) -> list[Answer]:
    return [_answer(prompt, prompt[:max_tokens].upper()) for prompt in prompts]


def _answer(prompt: str, text: str) -> Answer:
    return {
        "prompt_tokens": list(prompt.encode()),
        "tokens": list(text.encode()),
        "pieces": list(text),
        "text": text,
        "leads": [],
    }
