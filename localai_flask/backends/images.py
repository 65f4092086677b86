"""An image's file as pixels, for every engine that sees."""

from __future__ import annotations

import io

import PIL.Image
import PIL.ImageOps

from localai_flask.errors import InvalidRequest
from localai_flask.generation import Image

BACKGROUND = "white"
"""What is behind what an image lets through, as models see no transparency."""
LONGEST = 200
"""How many times as long as wide an image may be: models that cut images by their sides are trained for no more."""


def open_image(image: Image) -> PIL.Image.Image:
    """Decode an image's first frame, the right way up and without transparency; raise `InvalidRequest` if it breaks."""
    kind = image.media_type.rpartition("/")[2].upper()
    try:
        with PIL.Image.open(io.BytesIO(image.data), formats=[kind]) as opened:
            upright: PIL.Image.Image = PIL.ImageOps.exif_transpose(opened)
            if not upright.has_transparency_data:
                seen = upright.convert("RGB")
            else:
                behind = PIL.Image.new("RGBA", upright.size, BACKGROUND)
                seen = PIL.Image.alpha_composite(behind, upright.convert("RGBA")).convert("RGB")
    except Exception as error:  # the readers of formats raise what they like
        raise InvalidRequest(f"An image is broken: {error}.", param="messages") from error
    if max(seen.size) > LONGEST * min(seen.size):
        raise InvalidRequest(
            f"An image has {seen.width} x {seen.height} pixels, and may be {LONGEST} times as long as wide; cut it.",
            param="messages",
        )
    return seen
