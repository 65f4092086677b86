"""Prompts with images as the program takes them: a text with its own mark for each, and the files beside it.

Such a text is read by the program whole, so what is a control token in it cannot be said piece by piece.
"""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

from localai_flask.backends.images import open_image
from localai_flask.backends.llama_server.tokens import Tokens
from localai_flask.backends.over_http.http_thread import HttpThread
from localai_flask.errors import InvalidRequest
from localai_flask.generation import Image, Prompt

MARK = "<__media__>"
"""What stood for an image before programs drew a mark of their own at each start."""


class ImagePrompts:
    """Makes requests for one program, as it describes itself in `props`."""

    def __init__(self, http: HttpThread, tokens: Tokens, props: dict[str, Any]):
        self._http, self._tokens = http, tokens
        self._mark: str = props.get("media_marker") or MARK
        self._first: str = props.get("bos_token", "")

    async def request(self, prompt: Prompt) -> dict[str, Any]:
        """Return what stands for a prompt; raise `InvalidRequest` if it breaks, or would be read otherwise."""
        plain = [text for text, is_special in prompt.pieces if not is_special]
        if self._mark in prompt.text or any(map(self._tokens.has_name, plain)):
            raise InvalidRequest(
                "A message's text has the name of a control token, which this backend cannot tell from the token "
                "itself where there are images; leave it out.",
                param="messages",
            )
        text = self._mark.join(prompt.texts)
        if self._tokens.opening and self._first:  # which the program puts there itself
            text = text.removeprefix(self._first)
        files = [await asyncio.to_thread(_as_png, image) for image in prompt.images]
        return {"prompt_string": text, "multimodal_data": files}

    async def count(self, prompt: Prompt) -> int:
        """Return how many tokens a prompt has; the program says so only once it has computed it."""
        body = {"prompt": await self.request(prompt), "n_predict": 0, "cache_prompt": True}
        return int((await self._http.ask("POST", "/completion", body))["tokens_evaluated"])


def _as_png(image: Image) -> str:
    file = io.BytesIO()
    # All programs read PNG, but WebP and the orientation of photos none.
    open_image(image).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()
