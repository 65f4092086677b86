"""Images of conversations on their way to a server elsewhere: parts of their messages' content, in their places."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import Any

from localai_flask.generation import MARK_CLOSING, MARK_OPENING, Image, Prompt

_MARK = re.compile(f"{MARK_OPENING}(\\d+){MARK_CLOSING}")
"""Of which no text of a message with images has another by now (chat/images.py)."""
RESULT_OF = "The images of the tool's result:"
SEEING = ("image", "multimodal", "vision")
"""Words by which servers say that a model sees."""


def with_marks(prompt: Prompt) -> str:
    """Put a mark into a prompt's text for each image."""
    first, *others = prompt.texts
    return first + "".join(f"{MARK_OPENING}{number}{MARK_CLOSING}{text}" for number, text in enumerate(others))


def with_images(messages: list[dict[str, Any]], images: list[Image], *, in_results: bool) -> list[dict[str, Any]]:
    """Put images into the messages in whose content are their marks.

    Where a server has none `in_results` of tools, those of results are the user's, behind the results.
    """
    made: list[dict[str, Any]] = []
    held: list[dict[str, Any]] = []
    for message in messages:
        if message["role"] != "tool" and held:
            made.append(_shown(held))
            held = []
        parts = [*_parts(message.get("content"), images)]
        if all(part["type"] == "text" for part in parts):
            made.append(message)
        elif message["role"] != "tool" or in_results:
            made.append({**message, "content": parts})
        else:
            made.append({**message, "content": "".join(part.get("text", "[image]") for part in parts)})
            held += [part for part in parts if part["type"] != "text"]
    return [*made, *([_shown(held)] if held else [])]


def _shown(parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": RESULT_OF}, *parts]}


def _parts(content: Any, images: list[Image]) -> Iterator[dict[str, Any]]:
    """Yield the parts of a message's content."""
    for at, piece in enumerate(_MARK.split(content) if isinstance(content, str) else ()):
        if at % 2:
            yield {"type": "image_url", "image_url": {"url": _address(images[int(piece)])}}
        elif piece:
            yield {"type": "text", "text": piece}


def _address(image: Image) -> str:
    return f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"


def may_see(found: Mapping[str, Any]) -> bool:
    """Return whether a model may see by what its server says of it; most say nothing, and refuse images themselves."""
    shape = found.get("architecture")
    said = shape.get("input_modalities") if isinstance(shape, Mapping) else None
    said = said or found.get("input_modalities")
    able = found.get("capabilities")
    if isinstance(able, Mapping):  # Mistral's
        return bool(able.get("vision", True))
    if not said and isinstance(able, list) and "completion" in able:  # llama-server's, and this one's
        said = able
    return not isinstance(said, list) or not {*SEEING}.isdisjoint(map(str, said))
