"""From the images that a conversation names to those that its prompt has: fetched, and known to be images."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Generator

import PIL.Image

from localai_flask.api.work.content.content_bytes import ContentAccess, NotToBeHad
from localai_flask.chat.conversation import Conversation
from localai_flask.chat.images import ImageSource, with_marks_of, without_images
from localai_flask.chat.marks import keys_in
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest, UnsupportedParameter
from localai_flask.generation import Image, ModelInfo

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
MOST_IMAGES = 64
MOST_BYTES, MOST_TOGETHER = 20 * 2**20, 64 * 2**20
"""Of one image, and of all that a request has: a few addresses may stand for more than a body may hold."""
ALL_S = 60.0
"""How long a request's images may take to come, until the last of them is asked for."""
MOST_PIXELS = 50_000_000
"""What a large camera makes; a file of a few bytes may claim any number."""


def most_images(config: ModelConfig, info: ModelInfo) -> int:
    """Return how many images a request may have."""
    return min(config.limit_mm_per_prompt.get("image", MOST_IMAGES), MOST_IMAGES) if "image" in info.capabilities else 0


def load_images(
    conversation: Conversation, config: ModelConfig, info: ModelInfo, access: ContentAccess, field: str
) -> Generator[None, None, tuple[Conversation, dict[str, Image]]]:
    """Return the conversation as the model can read it, and its images by their keys; yield at each beat of waiting.

    Where the model does not see, images of the past are named in the text, and one that is asked now is refused with
    `UnsupportedParameter`. Raises `InvalidRequest` for an image that cannot be had or is none.
    """
    conversation = with_marks_of(conversation, conversation.images)
    if not conversation.images:
        return conversation, {}
    if "image" not in info.capabilities:
        last = conversation.messages[-1]
        if last.role == "user" and (keys := keys_in(last.content)):
            kind = conversation.images[keys[0]].kind
            raise UnsupportedParameter(
                f"The last message has a part of type {kind}, but the model {config.name!r} reads text only; leave it "
                "out, or choose a model that sees.",
                param=field,
            )
        return without_images(conversation), {}
    shown = [key for message in conversation.messages for key in keys_in(message.content)]
    most = most_images(config, info)
    if len(shown) > most:
        raise InvalidRequest(f"The messages have {len(shown)} images, but at most {most} may be sent.", param=field)
    opened = yield from _open_all({key: conversation.images[key] for key in shown}, access, field)
    return conversation, opened


def _open_all(
    sources: dict[str, ImageSource], access: ContentAccess, field: str
) -> Generator[None, None, dict[str, Image]]:
    opened: dict[str, Image] = {}
    deadline, together = time.monotonic() + ALL_S, 0
    for key, source in sources.items():
        if time.monotonic() > deadline:
            raise InvalidRequest(f"The images take more than {ALL_S:.0f} s to come; send fewer of them.", param=field)
        opened[key] = yield from _opened(source, access, field)
        together += len(opened[key].data)
        if together > MOST_TOGETHER:
            raise InvalidRequest(f"The images have more than {MOST_TOGETHER} bytes together.", param=field)
    return opened


def _opened(source: ImageSource, access: ContentAccess, field: str) -> Generator[None, None, Image]:
    try:
        data = yield from access.bytes_of(source, MOST_BYTES)
    except NotToBeHad as error:
        raise _refused(field, str(error)) from None
    try:
        with PIL.Image.open(io.BytesIO(data), formats=[*FORMATS]) as opened:
            media_type, (width, height) = FORMATS[opened.format or ""], opened.size
    except PIL.Image.DecompressionBombError:
        raise _refused(field, f"has more than {MOST_PIXELS} pixels") from None
    except Exception:  # the readers of formats raise what they like
        raise _refused(field, f"is broken, or of another format than {', '.join(FORMATS)}") from None
    if width * height > MOST_PIXELS:
        raise _refused(field, f"has {width} x {height} pixels, and at most {MOST_PIXELS} are allowed")
    return Image(0, data, media_type, width, height, hashlib.sha256(data).hexdigest())


def _refused(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"An image {why}.", param=field)
