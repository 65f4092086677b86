"""The training text: endless documents, each a list of (text, learn) pieces.

`learn` is true where the loss counts: the assistant's words of a chat, and all of a raw text. Chats are written by the
chat template that ships inside the model, so what is trained is what is served. Documents do not hold the token that
begins a text.
"""

import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

import errands
import jinja2.sandbox
import tales
import talk
from edits import ANSWERS

END_OF_TEXT = "<|endoftext|>"
TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text()
ANSWER = re.compile(r"(?<=<\|im_start\|>assistant\n)(.*?<\|im_end\|>)", re.DOTALL)
Document = list[tuple[str, bool]]

style: dict = {}
environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False, **style)
template = environment.from_string(TEMPLATE)


def render(rng: Random, messages: list[dict], tools: list[dict]) -> str:
    """Write a chat; how a server spaces and sorts the JSON of tools is not known, so vary it."""
    style.update(separators=rng.choice(((", ", ": "), (", ", ": "), (",", ":"))), sort_keys=rng.random() < 0.3)
    return template.render(messages=messages, tools=tools)


def pieces(text: str) -> Document:
    """Split a chat into prompt and answers."""
    return [(part, at % 2 == 1) for at, part in enumerate(ANSWER.split(text)) if part]


def chat(rng: Random, easy: bool) -> Document:
    """Write a chat of a few subjects, with or without tools; an easy one is short, and mostly copies."""
    box = errands.toolbox(rng, easy) if rng.random() < (0.2 if easy else 0.5) else []
    system = {"role": "system", "content": rng.choice(ANSWERS["systems"])}
    messages = [system] if rng.random() < (0.2 if easy else 0.5) else []
    for _ in range(1 if easy else rng.choice((2, 3, 3) if box else (1, 1, 2, 3))):
        messages += errands.exchange(rng, box) if box else talk.exchange(rng, easy)
    return pieces(render(rng, messages, [tool.as_openai(rng) for tool in box]))


def document(rng: Random, easy: bool = False) -> Document:
    """Write one document: a chat, or now and then a text."""
    if rng.random() < (0.02 if easy else 0.1):
        return [(tales.passage(rng) + END_OF_TEXT, True)]
    return chat(rng, easy)


def documents(seed: int, easy: int = 0) -> Iterator[Document]:
    """Write documents for ever, of which the first ones are easy."""
    rng = Random(seed)
    for at in count():
        yield document(rng, easy=at < easy)
